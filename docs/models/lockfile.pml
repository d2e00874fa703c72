/*
 * The lock-file protocol on one machine: publication by link, takeover, release, stale-file clean-up.
 *
 * Every option of `Proc` is one file-system operation (or one look at the process table) with what the process
 * concludes from it alone. Between any two a process may be killed or stand still for any time.
 * README.md explains the bounds and flags, what is left out and why that is sound.
 */
#ifndef N
#define N 3             /* competing processes, each of them for ever */
#endif
#ifndef F
#define F 3             /* files: 0 = L, 1 = L.claim, 2 = L.claim2, ... */
#endif
#ifndef CRASHES
#define CRASHES 255     /* kills; 255: any number */
#endif
#ifndef ERRORS
#define ERRORS 255      /* operations answered by an error, done or not; 255: any number */
#endif
#ifndef REMOVALS
#define REMOVALS 255      /* request files of live processes removed by others; 255: any number */
#endif

#ifdef TWO_CLAIMS       /* process 0 has a name of its own for the claim on L */
#define FILES (F+1)
#define S(l) ((l) == 1 && p == 0 -> F : (l))
#else
#define FILES F
#define S(l) (l)
#endif
#define TOP(l) (S(l) + 1 >= F)

#ifdef EXCLUSION_ONLY
#define OURS(c) skip
#else
#define OURS(c) assert(c)
#endif

/*
 * What a process remembers of each level. Records are unique and only ever move down (Q to P by link, a claim to P by
 * rename), so a file that is no longer the remembered one never becomes it again: instead of tokens, one bit says
 * whether it still is. A process looks at that bit only where it reads the file.
 */
#define SAME 1          /* the file of this level is still the remembered one */
#define OWN 2           /* it is a record of our own */
#define REQUEST 4       /* our request file Q for this level exists */
#define X(l) x[p*FILES+S(l)]
#define IS_OURS(l) ((X(l) & (OWN | SAME)) == (OWN | SAME))

#define DEAD (N+1)
#define FOREIGN (N+2)

byte file[FILES];       /* whose record is at the name: 0 no file, q+1 process q's, DEAD a killed process's, FOREIGN none */
byte x[N*FILES];
byte holders = 0;       /* live processes that believe they hold the lock */
byte crashes = 0, errors = 0, removals = 0;
byte i = 0;

#define Q1 0
#define Q2 1
#define Q3 2
#define WITHDRAW 3
#define READ 4
#define CHECK 5
#define WAIT 6
#define COMPARE 7
#define RENAME 8
#define CONFIRM 9
#define CS 10
#define RELEASE 11
#define REMOVE 12
#define CLEAN 13
#define WRITE 14
#define FAILED 15
#define GIVE_UP 16
#define MOVE 17
#define UNLINK_DEAD 18

#ifdef FALLBACK         /* each publication chooses: by link, or by exclusive creation and a write */
bool written[FILES];
#define EMPTY(l) (file[S(l)] != 0 && !written[S(l)])
#define SET_WRITTEN(f, w) written[f] = w
#define KILLABLE (CRASHES == 255 || (pc != WRITE && pc != FAILED))
#else
#define EMPTY(l) false
#define SET_WRITTEN(f, w) skip
#define KILLABLE true
#endif

#ifdef EMPTY_STALE
#define STALE(l) (file[S(l)] == DEAD || EMPTY(l) || file[S(l)] == FOREIGN)
#else
#define STALE(l) (file[S(l)] == DEAD && !EMPTY(l))
#endif
#define LIMIT(n, max) (max == 255 || n < max)
#define COUNT(n, max) if :: max != 255 -> n++ :: else fi

inline replaced(f) { i = 0; do :: i < N -> x[i*FILES+f] = x[i*FILES+f] & ~SAME; i++ :: else -> break od; i = 0 }
inline erase(l) { file[S(l)] = 0; SET_WRITTEN(S(l), false); replaced(S(l)); X(l) = 0 }
inline link() { file[S(l)] = p+1; SET_WRITTEN(S(l), true); X(l) = OWN | SAME | REQUEST }
inline rename() {
  file[S(l-1)] = file[S(l)]; SET_WRITTEN(S(l-1), written[S(l)]); replaced(S(l-1));
  X(l-1) = (X(l) & SAME) | OWN;
  erase(l)
}
/* The record at this level is ours. */
inline obtained() {
  if
  :: l == 0 -> pc = CS; holders++; assert(holders == 1)
  :: else -> pc = COMPARE
  fi
}
/* Start over at L. */
inline again() {
  do :: l > 0 -> X(l) = 0; l-- :: else -> break od;
  X(0) = 0;
  pc = Q1
}
/* Clean-up: nothing below the claim is to be replaced, so the comparison fails and a claim obtained is removed. */
inline clean(k) { l = k; X(l) = SAME; pc = CHECK }

#ifdef PROGRESS         /* a process cleans up after each release; for exclusion, whenever it likes */
bool litter = false;    /* there is a request file of a killed process */
#define RELEASED if :: l == 0 -> again(); pc = CLEAN :: else -> again() fi
#else
#define RELEASED again()
#endif

proctype Proc(byte p) {
  byte pc = Q1;
  byte l = 0;           /* the level at work: the file named l is the one to obtain */
  do
  /* Q1: create Q exclusively, with the whole record. */
  :: d_step { pc == Q1 -> X(l) = REQUEST; pc = Q2 }
  /* Q removed by another process, at any time before its last use. */
  :: d_step { (pc == Q2 || pc == WITHDRAW) && (X(l) & REQUEST) && LIMIT(removals, REMOVALS) ->
       COUNT(removals, REMOVALS); X(l) = X(l) & (OWN | SAME) }
  /* Q2: link Q to the name. */
#ifdef PUBLISH_BY_RENAME
  :: d_step { pc == Q2 && file[S(l)] == 0 -> pc = MOVE }
  :: d_step { pc == MOVE -> replaced(S(l)); link(); X(l) = OWN | SAME; obtained() }
#else
  :: d_step { pc == Q2 && (X(l) & REQUEST) && file[S(l)] == 0 -> link(); pc = Q3 }
  :: d_step { pc == Q2 && (X(l) & REQUEST) && file[S(l)] == 0 && LIMIT(errors, ERRORS) ->
       COUNT(errors, ERRORS); link(); pc = WITHDRAW }
#endif
  :: d_step { pc == Q2 && (X(l) & REQUEST) && file[S(l)] != 0 -> X(l) = 0; pc = READ }           /* EEXIST; Q3 */
  :: d_step { pc == Q2 && (X(l) & REQUEST) && file[S(l)] == 0 && LIMIT(errors, ERRORS) ->         /* done, but EEXIST */
       COUNT(errors, ERRORS); link(); X(l) = OWN | SAME; pc = READ }
  :: d_step { pc == Q2 && (X(l) & REQUEST) && LIMIT(errors, ERRORS) -> COUNT(errors, ERRORS); pc = WITHDRAW }
  :: d_step { pc == Q2 && (X(l) & REQUEST) == 0 -> pc = WITHDRAW }
  /* Answered by an error: Q is removed first, for until then the link may still take effect. Then P is read. */
  :: d_step { (pc == WITHDRAW || pc == GIVE_UP) && (X(l) & REQUEST) && file[S(l)] == 0 -> link() }
  :: d_step { pc == WITHDRAW ->
       if
#ifdef ERROR_IS_FAILURE
       :: true -> X(l) = 0; again()
#endif
#ifdef ENOENT_IS_FAILURE
       :: (X(l) & REQUEST) == 0 -> again()
#endif
#ifdef READ_BEFORE_UNLINK
       :: IS_OURS(l) -> pc = Q3
       :: else -> pc = GIVE_UP
#else
       :: else -> X(l) = X(l) & (OWN | SAME); pc = READ
#endif
       fi }
  :: d_step { pc == GIVE_UP -> X(l) = 0; again() }
  /* Q3: unlink Q. */
  :: d_step { pc == Q3 -> X(l) = X(l) & (OWN | SAME); obtained() }
  /* A2: read what is there, then look at the process table. */
#ifdef OWN_IS_OCCUPIED
  :: d_step { pc == READ && IS_OURS(l) -> X(l) = SAME; pc = CHECK }
#else
  :: d_step { pc == READ && IS_OURS(l) -> obtained() }
#endif
  :: d_step { pc == READ && !IS_OURS(l) && file[S(l)] != 0 -> X(l) = SAME; pc = CHECK }
  :: d_step { pc == READ && file[S(l)] == 0 -> again() }
  :: d_step { pc == CHECK && ((X(l) & SAME) == 0 || STALE(l)) ->
       if
#ifdef UNLINK_RECORD
       :: l == 0 -> pc = UNLINK_DEAD
#endif
#ifdef UNLINK_CLAIM
       :: l > 0 -> pc = UNLINK_DEAD
#endif
       :: !TOP(l) -> l++; pc = Q1
       :: else -> again()
       fi }
  :: d_step { pc == CHECK && ((X(l) & SAME) == 0 || !STALE(l)) -> pc = WAIT }
  :: d_step { pc == WAIT && ((X(l) & SAME) == 0 || STALE(l) || (l > 0 && (X(l-1) & SAME) == 0)) -> again() }
#if defined(UNLINK_RECORD) || defined(UNLINK_CLAIM)
  :: d_step { pc == UNLINK_DEAD && (X(l) & SAME) -> pc = REMOVE }
  :: d_step { pc == UNLINK_DEAD && (X(l) & SAME) == 0 -> again() }
#endif
  /* T2: compare. */
  :: d_step { pc == COMPARE ->
       if
#ifdef NO_COMPARE
       :: true -> pc = RENAME
#endif
#ifdef NO_COMPARE_CLAIM
       :: l > 1 -> pc = RENAME
#endif
#ifdef GONE_IS_FINE
       :: file[S(l-1)] == 0 -> pc = RENAME
#endif
#ifdef EMPTY_STALE
       :: (X(l-1) & SAME) && !STALE(l-1) -> pc = REMOVE
#endif
       :: X(l-1) & SAME -> pc = RENAME
       :: else -> pc = REMOVE
       fi }
  /* T3: rename the claim. */
#ifdef UNLINK_TWICE
  :: d_step { pc == RENAME -> OURS(X(l-1) & SAME); erase(l-1); pc = REMOVE }
#else
  :: d_step { pc == RENAME ->
       OURS((X(l) & SAME) && (X(l-1) & SAME));
       if
       :: file[S(l)] == 0 -> again()
       :: else -> rename(); l--; obtained()
       fi }
  :: d_step { pc == RENAME && file[S(l)] != 0 && LIMIT(errors, ERRORS) ->
       COUNT(errors, ERRORS); OURS((X(l) & SAME) && (X(l-1) & SAME)); rename(); pc = CONFIRM }
  :: d_step { pc == RENAME && LIMIT(errors, ERRORS) -> COUNT(errors, ERRORS); pc = CONFIRM }
  /* Answered by an error: read P. If it is not ours, the claim is still there. */
  :: d_step { pc == CONFIRM ->
       if
#ifdef RENAME_ERROR_IS_FAILURE
       :: true -> pc = RELEASE; X(l-1) = 0
#endif
       :: IS_OURS(l-1) -> l--; obtained()
       :: else -> pc = REMOVE
       fi }
#endif
#ifdef FALLBACK
  /* Where links are missing: create P exclusively, then write through the handle. */
  :: d_step { pc == Q1 && file[S(l)] == 0 -> file[S(l)] = p+1; X(l) = OWN | SAME; pc = WRITE }
  :: d_step { pc == Q1 && file[S(l)] != 0 -> pc = READ }
  :: d_step { pc == WRITE -> if :: X(l) & SAME -> written[S(l)] = true :: else fi; obtained() }
  :: d_step { pc == WRITE && LIMIT(errors, ERRORS) -> COUNT(errors, ERRORS); pc = FAILED }
  :: d_step { pc == FAILED -> OURS(X(l) & SAME); erase(l); again() }
#endif
  /* Release: read, unlink. */
  :: d_step { pc == CS -> holders--; pc = RELEASE }
#ifdef BY_HAND
  :: d_step { pc == CS -> holders--; erase(0); pc = RELEASE }
#endif
  :: d_step { pc == RELEASE ->
       if
#ifdef RELEASE_UNCHECKED
       :: true -> pc = REMOVE
#endif
       :: X(l) & SAME -> pc = REMOVE
       :: else -> RELEASED
       fi }
  :: d_step { pc == REMOVE -> OURS(IS_OURS(l)); erase(l); RELEASED }
  /* Answered by an error: read again before the next attempt. */
  :: d_step { pc == REMOVE && LIMIT(errors, ERRORS) -> COUNT(errors, ERRORS); OURS(IS_OURS(l)); erase(l); pc = RELEASE }
  /* Clean-up */
#ifdef PROGRESS
#ifdef NO_CLEANUP
  :: d_step { pc == CLEAN -> again() }
#else
  :: d_step { pc == CLEAN ->
       litter = false; i = F-2;
       do :: i > 0 && file[i] != DEAD -> i-- :: else -> break od;
       if :: i > 0 -> clean(i) :: else -> again() fi;
       i = 0 }
#endif
#else
  :: d_step { pc == Q1 && l == 0 && file[S(1)] != 0 -> clean(1) }
#if F > 3
  :: d_step { pc == Q1 && l == 0 && file[2] != 0 -> clean(2) }
#endif
#endif
  /* Killed; another process takes this one's place in the model. */
  :: d_step { KILLABLE && LIMIT(crashes, CRASHES) ->
       COUNT(crashes, CRASHES);
       if :: pc == CS -> holders-- :: else fi;
       i = 0;
       do
       :: i < FILES ->
#ifdef PROGRESS
         if :: x[p*FILES+i] & REQUEST -> litter = true :: else fi;
#endif
         x[p*FILES+i] = 0; if :: file[i] == p+1 -> file[i] = DEAD :: else fi; i++
       :: else -> break
       od;
       i = 0; l = 0; pc = Q1 }
  od
}

#ifdef OTHER_TOOL       /* it locks by exclusive creation of an empty L */
proctype Other() {
  do
  :: d_step { file[0] == 0 -> file[0] = FOREIGN; holders++; assert(holders == 1) }
  :: d_step { file[0] == FOREIGN -> holders--; file[0] = 0; replaced(0) }
  od
}
#endif

init { atomic {
  byte n = 0;
  do :: n < N -> run Proc(n); n++ :: else -> break od;
#ifdef OTHER_TOOL
  run Other();
#endif
  n = 0
} }

#ifdef PROGRESS
#if F > 3
#define CLEANED (!litter && file[1] != DEAD && file[2] != DEAD)
#else
#define CLEANED (!litter && file[1] != DEAD)
#endif
ltl progress { ([]<> (holders > 0)) && ([]<> (holders == 0)) && ([]<> CLEANED) }
#endif
