/*
 * The lock-file protocol on one machine: acquire, takeover, doubt, release, sweep.
 *
 * Every option of `Proc` is one file-system operation (or one look at the process table) with what the process
 * concludes from it alone; between any two a process may be killed or stand still for any time.
 * README.md tells the bounds and flags, what is left out and why that is sound.
 */
#ifndef N
#define N 3             /* processes competing, each for ever */
#endif
#ifndef F
#define F 3             /* files: 0 = P, 1 = P.reap, 2 = P.reap.reap, ... */
#endif
#ifndef CRASHES
#define CRASHES 255     /* 255: any number */
#endif
#ifndef STALLS
#define STALLS 255      /* creations that take longer than the doubt; 255: any number */
#endif

#ifdef OLD_CLAIMS       /* the claim on a broken P has another name than the claim on a written one */
#define FILES (F+1)
#define S(l) ((l) == 1 && other -> F : (l))
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
 * What a process remembers of the record it means to replace (or has itself) at a level. Records are unique and only
 * ever move down, P.reap to P, so a file that is no longer the remembered one never becomes it again: instead of
 * tokens, one bit says whether it still is. No step of a process looks at its own bit except where it compares.
 */
#define SAME 1          /* the file of this level is still the remembered one */
#define BROKEN 2        /* it was empty when read */
#define OWN 4           /* it is a record of our own */
#define X(l) x[p*FILES+S(l)]

#define DEAD (N+1)

byte file[FILES];       /* whose record is at the name: 0 no file, q+1 process q's, DEAD a killed process's */
bool written[FILES];    /* false: created and still empty */
byte x[N*FILES];
bool slow[N];           /* the creation under way has taken longer than the doubt, on its creator's clock */
byte holders = 0;       /* processes alive that believe they hold */
byte crashes = 0, stalls = 0;
byte i = 0;

#define CREATE 0
#define WRITE 1
#define JUDGE 2
#define WAIT 3
#define COMPARE 4
#define RENAME 5
#define DROP 6
#define CS 7
#define RELEASE 8
#define REMOVE 9
#define DOUBT 10
#define GONE 11
#define FAILED 12

/* A dead creator's empty file grows old by itself, a live one's only while its creator is slow. */
#define ABANDONED(l) (file[S(l)] == DEAD || ((X(l) & BROKEN) && slow[file[S(l)]-1]))
#define LIMIT(n, max) (max == 255 || n < max)
#define COUNT(n, max) if :: max != 255 -> n++ :: else fi

inline replaced(f) { i = 0; do :: i < N -> x[i*FILES+f] = x[i*FILES+f] & OWN; i++ :: else -> break od; i = 0 }
inline erase(l) { file[S(l)] = 0; written[S(l)] = false; replaced(S(l)); X(l) = 0 }
inline obtained() {
  if
  :: l == 0 -> pc = CS; holders++; assert(holders == 1)
  :: else -> pc = COMPARE
  fi
}
/* Look again from P: but a record left behind in doubt must be settled first, for others take it for a live owner's. */
inline again() {
  do :: l > 0 && (X(l-1) & OWN) == 0 -> X(l) = 0; l-- :: else -> break od;
  X(l) = 0;
#ifdef OLD_CLAIMS
  if :: l == 0 -> other = false :: else fi;
#endif
  pc = CREATE
}

#ifdef PROGRESS         /* a process sweeps once per hold; for exclusion, whenever it likes */
#define SWEPT(v) swept = v
#else
#define swept false
#define SWEPT(v) skip
#endif

proctype Proc(byte p) {
  byte pc = CREATE;
  byte l = 0;           /* the level at work: the file named l is the one to obtain */
#ifdef OLD_CLAIMS
  bool other = false;
#endif
#ifdef PROGRESS
  bool swept = false;
#endif
  do
  /* A1, C1 */
  :: d_step { pc == CREATE && file[S(l)] == 0 -> file[S(l)] = p+1; X(l) = OWN | SAME; pc = WRITE }
  :: d_step { pc == WRITE && !slow[p] && !TOP(l) && LIMIT(stalls, STALLS) -> slow[p] = true; COUNT(stalls, STALLS) }
  :: d_step { pc == WRITE ->                    /* through the handle: into nothing when the file was replaced */
       if :: X(l) & SAME -> written[S(l)] = true :: else fi;
       if
#ifdef NO_DOUBT
       :: true -> obtained()
#endif
#ifdef NO_DOUBT_CLAIM
       :: l > 0 -> obtained()
#endif
       :: !slow[p] -> obtained()
       :: else ->
#ifdef DOUBT_UNLINK
         pc = DOUBT
#else
         l++; pc = CREATE
#endif
       fi;
       slow[p] = false }
#if defined(DOUBT_UNLINK) || defined(DOUBT_BUSY_UNLINK)
  :: d_step { pc == DOUBT && (X(l) & SAME) == 0 -> again() }
  :: d_step { pc == DOUBT && (X(l) & SAME) -> pc = DROP }
#endif
#if defined(FAIL_LEAVE) || defined(FAIL_UNLINK)
  /* The write failed: an empty file that nobody will write any more and that grows old by itself. */
  :: d_step { pc == WRITE && !slow[p] ->
       if :: X(l) & SAME -> file[S(l)] = DEAD :: else fi;
#ifdef FAIL_UNLINK
       pc = FAILED }
  :: d_step { pc == FAILED -> OURS(X(l) & SAME); erase(l); again() }
#else
       again() }
#endif
#endif
  /* A2, C1: it exists */
  :: d_step { pc == CREATE && file[S(l)] != 0 -> X(l) = SAME | (written[S(l)] -> 0 : BROKEN); pc = JUDGE }
  :: d_step { pc == JUDGE && ((X(l) & SAME) == 0 || ABANDONED(l)) && !TOP(l) ->
#ifdef OLD_CLAIMS
       if :: l == 0 && (X(l) & BROKEN) -> other = true :: else fi;
#endif
       l++; pc = CREATE }
  :: d_step { pc == JUDGE && ((X(l) & SAME) == 0 || ABANDONED(l)) && TOP(l) -> again() }
  :: d_step { pc == JUDGE && ((X(l) & SAME) == 0 || !ABANDONED(l)) -> pc = WAIT }
  :: d_step { pc == WAIT && ((X(l) & SAME) == 0 || ABANDONED(l) || ((X(l) & BROKEN) && written[S(l)])
                             || (l > 0 && (X(l-1) & SAME) == 0)) ->
#ifdef DOUBT_FORGET
       do :: l > 0 -> X(l) = 0; l-- :: else -> break od;
#endif
       again() }
#ifdef DOUBT_ABANDON
  :: d_step { pc == WAIT && l > 0 && (X(l-1) & OWN) -> pc = GONE }
#endif
#ifdef DOUBT_BUSY_UNLINK
  :: d_step { pc == WAIT && l > 0 && (X(l-1) & OWN) -> X(l) = 0; l--; pc = DOUBT }
#endif
  /* C2 */
  :: d_step { pc == COMPARE ->
       if
#ifdef NO_C2
       :: true -> pc = RENAME
#endif
#ifdef NO_C2_CLAIM
       :: l > 1 -> pc = RENAME
#endif
#ifdef EMPTY_ONLY
       :: (X(l-1) & OWN) == 0 && file[S(l-1)] != 0 && !written[S(l-1)] -> pc = RENAME
#endif
#ifdef SAME_FILE_ONLY
       :: X(l-1) & SAME -> pc = RENAME
#endif
#ifdef GONE_IS_FINE
       :: file[S(l-1)] == 0 -> pc = RENAME
#endif
       :: (X(l-1) & SAME) && !((X(l-1) & BROKEN) && written[S(l-1)]) -> pc = RENAME
       :: else -> pc = DROP
       fi }
  /* C3 */
#ifdef UNLINK_C3
  :: d_step { pc == RENAME -> OURS(X(l-1) & SAME); erase(l-1); pc = DROP }
#else
  :: d_step { pc == RENAME ->
       OURS((X(l) & SAME) && (X(l-1) & SAME));
       if
       :: file[S(l)] == 0 -> again()
       :: else ->
       file[S(l-1)] = file[S(l)]; written[S(l-1)] = written[S(l)]; replaced(S(l-1));
       if :: X(l) & SAME -> X(l-1) = OWN | SAME :: else -> X(l-1) = OWN fi;
       erase(l);
       l--;
       obtained()
       fi }
#endif
  :: d_step { pc == DROP -> OURS(X(l) & SAME); erase(l); if :: l > 0 -> l-- :: else fi; again() }
#ifndef NO_SWEEP
  /* Sweep: nothing at P is to be replaced, so the comparison cannot succeed and a claim obtained is dropped. */
  :: d_step { pc == CREATE && l == 0 && file[1] != 0 && !swept ->
       SWEPT(true); X(0) = 0; l = 1; X(1) = SAME | (written[1] -> 0 : BROKEN); pc = JUDGE }
#endif
  /* Release */
  :: d_step { pc == CS -> holders--; pc = RELEASE }
  :: d_step { pc == RELEASE -> OURS(X(0) & SAME);
       if
#ifdef RELEASE_UNCHECKED
       :: true -> pc = REMOVE
#endif
       :: X(0) & SAME -> pc = REMOVE
       :: else -> again()
       fi }
  :: d_step { pc == REMOVE -> OURS(X(0) & SAME); erase(0); SWEPT(false); again() }
  /* Killed; another process takes this one's place in the model. */
  :: d_step { LIMIT(crashes, CRASHES) ->
       COUNT(crashes, CRASHES);
       if :: pc == CS -> holders-- :: else fi;
       i = 0;
       do
       :: i < FILES -> x[p*FILES+i] = 0; if :: file[i] == p+1 -> file[i] = DEAD :: else fi; i++
       :: else -> break
       od;
       i = 0; slow[p] = false; l = 0; pc = CREATE
#ifdef OLD_CLAIMS
       ; other = false
#endif
     }
  od
}

init { atomic {
  byte n = 0;
  do :: n < N -> run Proc(n); n++ :: else -> break od;
  n = 0
} }

#ifdef PROGRESS
ltl progress { ([]<> (holders > 0)) && ([]<> (holders == 0)) }
#endif
