/*
 * The lock-file protocol between machines: no owner can be checked, so a record counts as stale once it has not
 * changed for a lease.
 *
 * Time is a counter of ticks. Every process may stand still for any number of them anywhere, except in the short
 * windows that the lease assumption speaks of (`ENTER` to `LEAVE`). README.md explains what is left out and why.
 */
#ifndef N
#define N 2             /* processes, each on its own machine */
#endif
#ifndef F
#define F 3             /* files: 0 = L, 1 = L.claim, 2 = L.claim2 */
#endif
#ifndef LEASE
#define LEASE 6         /* an observer takes over after this many ticks without any change */
#endif
#ifndef LOSS
#define LOSS 3          /* a lock is lost when its last good heartbeat started more than this ago */
#endif
#ifndef STALL
#define STALL 2         /* the assumption: no process stands still longer between reading its age and the act that relies on it */
#endif

#ifdef EXCLUSION_ONLY
#define OURS(c) skip
#else
#define OURS(c) assert(c)
#endif

#define SAME 1          /* the file of this level is still the remembered one (see lockfile.pml) */
#define QUIET 2         /* nor has its content changed */
#define OWN 4
#define X(l) x[p*F+(l)]
#define LATE(p) (age[p] > LOSS)

bool file[F];
byte x[N*F];
byte age[N];            /* ticks since our record was linked or its last good heartbeat started; LOSS+1: more */
byte beat[N];           /* ticks since the heartbeat under way started */
byte silent[N];         /* ticks without change of the file that p reads again and again; at most LEASE */
bool window[N];         /* p has read its age and is about to act on it */
byte stood[N];          /* ticks since p entered that window */
byte working = 0;       /* processes in their critical section */
byte i = 0;

#define LINK 0
#define READ 1
#define COMPARE 2
#define RENAME 3
#define DROP 4
#define HELD 5
#define WORK 6
#define BEAT 7
#define RELEASE 8
#define REMOVE 9
#define ANSWER 10

/* A clock that is not read again stays at its end, where ticks do not move it: fewer states, nothing lost. */
#define REST age[p] = LOSS+1; beat[p] = LOSS+1; silent[p] = LEASE
#define ENTER window[p] = true; stood[p] = 0
#define LEAVE window[p] = false; stood[p] = 0

inline replaced(f) { i = 0; do :: i < N -> x[i*F+f] = x[i*F+f] & OWN; i++ :: else -> break od; i = 0 }
inline erase(l) { file[l] = false; replaced(l); X(l) = 0 }
inline changed(f) { i = 0; do :: i < N -> x[i*F+f] = x[i*F+f] & (OWN | SAME); i++ :: else -> break od; i = 0 }
inline obtained() {
  if
  :: l > 0 -> pc = COMPARE
  :: l == 0 && releasing -> pc = RELEASE
  :: else -> assert(working == 0); pc = HELD
  fi
}
inline again() {
  do :: l > 0 && (X(l-1) & OWN) == 0 -> X(l) = 0; l-- :: else -> break od;
  X(l) = 0; REST;
  if :: l == 0 -> releasing = false :: else fi;
  pc = LINK
}

proctype Proc(byte p) {
  byte pc = LINK;
  byte l = 0;
  bool releasing = false;
  do
  /* Q2: the link takes effect. Its answer may come any time later; the age counts from before the link. */
  :: d_step { pc == LINK && !file[l] -> file[l] = true; X(l) = OWN | SAME; age[p] = 0; pc = ANSWER }
  :: d_step { pc == ANSWER ->
#ifdef AGE_FROM_ANSWER
       age[p] = 0;
#endif
       if
#ifndef GRANT_LATE
       :: l == 0 && LATE(p) -> pc = RELEASE              /* never granted */
#endif
       :: else -> obtained()
       fi }
  /* Q2: EEXIST. A2: read it until it has not changed for a lease. */
  :: d_step { pc == LINK && file[l] -> X(l) = SAME | QUIET; silent[p] = 0; pc = READ }
  :: d_step { pc == READ && ((X(l) & QUIET) == 0 || (l > 0 && (X(l-1) & SAME) == 0)) -> again() }
  :: d_step { pc == READ && silent[p] == LEASE && (X(l) & QUIET) && l+1 < F -> silent[p] = LEASE; l++; pc = LINK }
  /* T2, with our own claim's age. A late claim is replaced one level up, like that of any other process. */
  :: d_step { pc == COMPARE ->
       if
#ifdef CLAIM_LATE_UNLINK
       :: LATE(p) -> pc = DROP
#elif !defined(CLAIM_AGE_UNCHECKED)
       :: LATE(p) -> if :: l+1 < F -> l++; pc = LINK :: else -> X(l) = 0; l--; again() fi
#endif
#ifdef NO_COMPARE
       :: true -> ENTER; pc = RENAME
#endif
#ifdef COMPARE_TOKEN
       :: X(l-1) & SAME -> ENTER; pc = RENAME
#endif
       :: (X(l-1) & SAME) && (X(l-1) & (QUIET | OWN)) -> ENTER; pc = RENAME
       :: else -> ENTER; pc = DROP
       fi }
  /* T3 */
  :: d_step { pc == RENAME ->
       OURS((X(l) & SAME) && (X(l-1) & SAME));
       LEAVE;
       if
       :: !file[l] -> again()
       :: else ->
         file[l-1] = true; replaced(l-1);
         if :: X(l) & SAME -> X(l-1) = OWN | SAME :: else -> X(l-1) = OWN fi;
         erase(l);
         l--;
         obtained()
       fi }
  :: d_step { pc == DROP -> OURS(X(l) & SAME); LEAVE; erase(l); if :: l > 0 -> l-- :: else fi; again() }
  /* The critical section, one piece of work at a time, each after reading our age */
  :: d_step { pc == HELD && !LATE(p) -> assert(working == 0); working++; ENTER; pc = WORK }
  :: d_step { pc == WORK -> working--; LEAVE; pc = HELD }
  /* Heartbeat, through the handle */
  :: d_step { pc == HELD && !LATE(p) -> beat[p] = 0; pc = BEAT }
  :: d_step { pc == BEAT ->
#ifdef BEAT_BY_PATH
       replaced(0); file[0] = true; X(0) = OWN | SAME;
#else
       if :: X(0) & SAME -> changed(0) :: else fi;
#endif
       if
#ifdef BEAT_LATE
       :: X(0) & SAME -> age[p] = beat[p]; pc = HELD
#endif
       :: (X(0) & SAME) && !LATE(p) -> age[p] = beat[p]; pc = HELD
       :: else -> age[p] = LOSS+1; pc = RELEASE          /* lost */
       fi;
       beat[p] = LOSS+1 }
  /* Release, by the holder or because the lock is lost */
  :: d_step { pc == HELD -> pc = RELEASE }
  :: d_step { pc == RELEASE ->
       if
#ifdef RELEASE_LATE_UNLINK
       :: true -> pc = REMOVE
#endif
#ifdef RELEASE_LATE_CHECKED
       :: LATE(p) && (X(0) & SAME) -> pc = REMOVE
#endif
#ifdef RELEASE_UNCHECKED
       :: !LATE(p) -> ENTER; pc = REMOVE
#endif
       :: !LATE(p) && (X(0) & SAME) -> ENTER; pc = REMOVE
       :: !LATE(p) && (X(0) & SAME) == 0 -> again()
       :: else -> releasing = true; l = 1; pc = LINK
       fi }
  :: d_step { pc == REMOVE -> OURS(X(0) & SAME); LEAVE; erase(0); again() }
  /* Killed; another process takes this one's place in the model. */
  :: d_step { true ->
       if :: pc == WORK -> working-- :: else fi;
       i = 0; do :: i < F -> X(i) = 0; i++ :: else -> break od;
       i = 0; REST; LEAVE; l = 0; releasing = false; pc = LINK }
  /* A tick, unless a process has stood in a window for the whole STALL. */
  :: d_step { p == 0 && (STALL == 255 || (stood[0] < STALL && stood[1] < STALL && stood[N-1] < STALL)) ->
       i = 0;
       do
       :: i < N ->
         if :: age[i] <= LOSS -> age[i]++ :: else fi;
         if :: beat[i] <= LOSS -> beat[i]++ :: else fi;
         if :: silent[i] < LEASE -> silent[i]++ :: else fi;
         if :: window[i] && STALL != 255 -> stood[i]++ :: else fi;
         i++
       :: else -> break
       od;
       i = 0 }
  od
}

init { atomic {
  byte n = 0;
  do :: n < N -> age[n] = LOSS+1; beat[n] = LOSS+1; silent[n] = LEASE; run Proc(n); n++ :: else -> break od;
  n = 0
} }
