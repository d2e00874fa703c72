/*
 * Shared mode: readers have files in a directory S beside the lock file L, a writer has L.
 *
 * Every option is one file-system operation with what the process concludes from it alone. Between any two a process may
 * stand still for any time, and be killed where kills are allowed. How L is obtained is one step here: lockfile.pml has
 * its steps. README.md explains the bounds and flags, what is left out and why that is sound.
 *
 * The first half is one machine: whoever lives is known to. The second half (LEASE) has a reader that is silent, and
 * writers whose L was taken over.
 */
#ifdef EXCLUSION_ONLY
#define OURS(c) skip
#else
#define OURS(c) assert(c)
#endif
#define DEAD 100        /* L has the record of a killed process */

#ifndef CRASHES
#define CRASHES 255     /* kills; 255: any number; with LEASE none or any number */
#endif

byte L = 0;             /* whose record is at the lock file: 0 none, p+1 process p's */
bool S = false;         /* the directory is there */

#ifndef LEASE
/* ---------------------------------------------------- one machine ---------------------------------------------------- */
#ifndef N
#define N 3             /* processes, each of them for ever; each time it reads, writes or cleans up */
#endif
#ifndef CORPSES
#define CORPSES 2       /* files of killed readers that are there at once */
#endif
#define LIMIT(n, max) (max == 255 || n < max)
#define COUNT(n, max) if :: max != 255 -> n++ :: else fi
#define EMPTY (live == 0 && dead == 0)

bool R[N];              /* the file of process p is there */
byte live = 0;          /* how many such files there are */
byte dead = 0;          /* files of killed readers */
byte readers = 0, writers = 0;  /* live processes that believe they share the lock, or have it */
byte busy = 0;          /* processes that have begun something */
byte crashes = 0;
bool clearing = false;  /* a live writer has L, and is not inside yet */
byte litter = 0;

#define IDLE 0
#define LOOK 1
#define MKDIR 2
#define PUBLISH 3
#define LOOK_AGAIN 4
#define STILL_THERE 5
#define READING 6
#define LEAVE 7
#define RMDIR 8
#define TRY 9
#define LIST 10
#define REMOVE 11
#define UNLOCK 12
#define OBTAIN 13
#define CLEAR 14
#define READERS 15
#define WAIT 16
#define WRITING 17
#define CLEAN 18
#define SHARE 19
#define ENTER 20

inline gone(k) { if :: R[k] -> R[k] = false; live-- :: else fi }
inline idle() {
  busy--; pc = IDLE; slow = false; writer = false; blind = false;
#if CRASHES == 0
  if
  :: busy == 0 ->
#ifdef RECURSIVE        /* a directory may stay, but no file */
     litter = live + L;
#else
     litter = live + L + S;
#endif
     assert(litter == 0)
  :: else
  fi
#endif
}
/* After R4: to the slow path, or the end. */
inline left() { if :: slow -> slow = false; pc = OBTAIN :: else -> idle() fi }
inline reads() { readers++; assert(writers == 0); OURS(R[p]); slow = false; pc = READING }
inline writes() { clearing = false; assert(writers == 0); writers++; assert(writers == 1 && readers == 0); pc = WRITING }
/* The directory is gone, or what was in the way of that is to be looked at. */
inline cleared() { if :: writer -> writes() :: blind -> left() :: else -> pc = UNLOCK fi }

proctype Proc(byte p) {
  byte pc = IDLE;
  bool writer = false;
  bool slow = false;    /* a reader leaves because of a writer; or it has L: R3 */
  bool blind = false;
  byte i = 0;
  do
  :: d_step { pc == IDLE -> busy++; pc = LOOK }
  :: d_step { pc == IDLE -> busy++; writer = true; pc = OBTAIN }
#ifndef PROGRESS
  :: d_step { pc == IDLE && (S || dead > 0) -> busy++; pc = CLEAN }
#endif
  /* R1 */
  :: d_step { pc == LOOK -> if :: L == 0 -> pc = MKDIR :: else -> pc = OBTAIN fi }
  :: d_step { pc == MKDIR -> S = true; pc = PUBLISH }
  :: d_step { pc == PUBLISH ->                           /* the rename answers ENOENT where S has gone */
       if
       :: !S -> pc = MKDIR
       :: S && slow -> R[p] = true; live++; pc = SHARE
       :: else -> R[p] = true; live++; pc = LOOK_AGAIN
       fi }
  /* R2 */
  :: d_step { pc == LOOK_AGAIN ->
       if
#ifdef NO_LOOK
       :: true -> pc = STILL_THERE
#else
       :: L != 0 -> slow = true; pc = LEAVE
       :: else -> pc = STILL_THERE
#endif
       fi }
  :: d_step { pc == STILL_THERE ->
       if
#ifdef NO_RECHECK
       :: true -> reads()
#else
       :: R[p] -> reads()
       :: else -> slow = true; pc = LEAVE
#endif
       fi }
  :: d_step { pc == READING -> readers--; OURS(R[p]); pc = LEAVE }
  /* R4 */
  :: d_step { pc == LEAVE -> gone(p); pc = RMDIR }
  :: d_step { pc == RMDIR ->
       if
#ifdef NO_RMDIR
       :: true -> left()
#endif
#ifdef RECURSIVE        /* only with all that is in it, so only by who has L */
#ifdef BLIND
       :: S && EMPTY -> blind = true; pc = REMOVE
#else
       :: S && EMPTY -> pc = TRY
#endif
#else
       :: S && EMPTY -> S = false; left()
#endif
       :: else -> left()
       fi }
#ifdef RECURSIVE
  :: d_step { pc == TRY -> if :: L == 0 -> L = p+1; pc = LIST :: else -> left() fi }
  :: d_step { pc == LIST ->
       if
       :: !S -> cleared()
       :: S && EMPTY -> pc = REMOVE
       :: S && !EMPTY && writer -> pc = READERS
       :: else -> pc = UNLOCK
       fi }
  /* What has come since is removed with it: one file after the other, or not, and then the directory. */
  :: d_step { pc == REMOVE && live > 0 -> i = 0; do :: !R[i] -> i++ :: else -> break od; gone(i); i = 0 }
  :: d_step { pc == REMOVE && live > 0 -> i = N-1; do :: !R[i] -> i-- :: else -> break od; gone(i); i = 0 }
  :: d_step { pc == REMOVE && dead > 0 -> dead-- }
  :: d_step { pc == REMOVE && EMPTY -> S = false; cleared() }
  :: d_step { pc == REMOVE && !EMPTY -> if :: writer -> pc = READERS :: else -> cleared() fi }
  :: d_step { pc == UNLOCK -> L = 0; left() }
#endif
  /* L, as any writer. The record of a killed process is replaced: L is never absent in between. */
  :: d_step { pc == OBTAIN && (L == 0 || L == DEAD) ->
       L = p+1;
       if
       :: writer -> clearing = true; pc = CLEAR
       :: else -> slow = true; pc = MKDIR
       fi }
  /* R3 */
  :: d_step { pc == SHARE ->
       OURS(L == p+1);
       L = 0; reads() }
  /* E1 */
  :: d_step { pc == CLEAR ->
       if
#ifdef NO_READERS
       :: true -> writes()
#endif
       :: !S -> writes()
#ifdef RECURSIVE
       :: else -> pc = LIST
#else
       :: S && EMPTY -> S = false; writes()
       :: else -> pc = READERS
#endif
       fi }
  /* The directory is listed, and each file is read. Those of killed readers are unlinked. */
  :: d_step { pc == READERS ->
       if
#ifndef NO_EVICTION
       :: dead > 0 -> dead--; pc = (live == 0 -> ENTER : CLEAR)
#endif
       :: dead == 0 && live == 0 -> writes()
       :: else -> pc = WAIT
       fi }
  /* None is left of those that were listed: what has come since does not count. */
  :: d_step { pc == ENTER && dead > 0 -> dead-- }
  :: d_step { pc == ENTER -> writes() }
  /* E2 */
  :: d_step { pc == WAIT && (live == 0
#ifndef NO_EVICTION
       || dead > 0 -> true : false
#else
       && dead == 0 -> true : false
#endif
       ) -> pc = CLEAR }
  :: d_step { pc == WRITING -> writers--; OURS(L == p+1); L = 0; idle() }
  /* Clean-up, whenever it likes, without L */
  :: d_step { pc == CLEAN ->
       if
#ifndef NO_EVICTION
       :: dead > 0 -> dead--
#endif
#ifdef CLEAN_BLIND
       :: S && EMPTY -> blind = true; pc = REMOVE
#endif
       :: dead == 0 -> pc = RMDIR
#ifdef NO_EVICTION
       :: dead > 0 -> pc = RMDIR
#endif
       fi }
  /* Killed; another process takes this one's place in the model. */
  :: d_step { CRASHES > 0 && pc != IDLE && LIMIT(crashes, CRASHES) && (!R[p] || dead < CORPSES) ->
       COUNT(crashes, CRASHES);
       if :: pc == READING -> readers-- :: pc == WRITING -> writers-- :: else fi;
       if :: L == p+1 -> L = DEAD; if :: writer -> clearing = false :: else fi :: else fi;
       if :: R[p] -> R[p] = false; live--; dead++ :: else fi;
       busy--; slow = false; writer = false; blind = false; pc = IDLE }
  od
}

init { atomic {
  byte n = 0;
  do :: n < N -> run Proc(n); n++ :: else -> break od;
  n = 0
} }

#ifdef PROGRESS
ltl progress { ([] (clearing -> <> !clearing)) && ([]<> (readers > 0 || writers > 0)) }
#endif

#else
/* ------------------------------------------------------- leases ------------------------------------------------------- */
/*
 * One reader, on a machine of its own, W writers on others, and a clean-up on a further one. A lease passes only while
 * nobody is between reading its age and the act that relies on it: the assumption every lease rests on (see lease.pml,
 * where it is counted in ticks).
 */
#ifndef W
#define W 2             /* writers, each on its own machine */
#endif
#define READER 0        /* process 0; the writers are 1 to W, and W+1 cleans up */

bool R = false;         /* the file of the reader is there */
bool same[W+2];         /* it has the content that a process has seen last */
bool known[W+2];        /* … and the name: each reader has its own */
bool late[W+2];         /* the record of this process at L is so old that others may take it over */
bool window[W+2];       /* this process has read its age, and is about to act on it */
bool old = true;        /* the same for R, since its last good heartbeat began */
bool oldBeat = true;    /* … since the heartbeat under way began, or the publication */
bool written = false;   /* that has changed the content */
byte claim = 0;         /* who has the claim on L, p+1; lease.pml has the steps of claims */
bool lateClaim = false; /* that is so old that others may take it over */
bool claimWindow = false;
byte working = 0;       /* processes that do a piece of work */
byte i = 0;

/* A lease has passed since the content changed last. */
#define SILENT (!window[READER] && old && (!written || oldBeat))
#define FREE(p) (L == 0 || L == DEAD || (L != p+1 && late[L-1] && !window[L-1]))
#define UNCLAIMED(p) (claim == 0 || (claim != p+1 && lateClaim && !claimWindow))

#define IDLE 0
#define PUBLISH 1
#define LOOK_AGAIN 2
#define STILL_THERE 3
#define GRANT 4
#define SHARED 5
#define WORK 6
#define CLAIM 7
#define OPEN 8
#define WRITE 9
#define COMPARE 10
#define LEAVE 11
#define RMDIR 12
#define OBTAIN 13
#define SHARE_PUBLISH 14
#define SHARE 15

inline changed() { i = 0; do :: i < W+2 -> same[i] = false; i++ :: else -> break od; i = 0 }
inline publish() {
  S = true; R = true; written = true;
  i = 0; do :: i < W+2 -> same[i] = false; known[i] = false; i++ :: else -> break od; i = 0
}
inline takeClaim(p) { claim = p+1; lateClaim = false; claimWindow = false }
inline giveBack(p) { if :: claim == p+1 -> claim = 0; lateClaim = false; claimWindow = false :: else fi }

active proctype Reader() {
  byte pc = IDLE;
  bool claimed = false;
  do
  /* R1. The age counts from before the file is made. */
  :: d_step { pc == IDLE && !R -> oldBeat = false; if :: L == 0 -> pc = PUBLISH :: else -> pc = OBTAIN fi }
  :: d_step { pc == PUBLISH -> publish(); pc = LOOK_AGAIN }
  /* R2 */
  :: d_step { pc == LOOK_AGAIN -> if :: L != 0 -> pc = LEAVE :: else -> pc = STILL_THERE fi }
  :: d_step { pc == STILL_THERE -> if :: R -> pc = GRANT :: else -> pc = LEAVE fi }
  /* R3. A release finds out whether L was its own until then. */
  :: d_step { pc == OBTAIN && FREE(READER) -> L = READER+1; late[READER] = false; pc = SHARE_PUBLISH }
  :: d_step { pc == SHARE_PUBLISH -> publish(); pc = SHARE }
  :: d_step { pc == SHARE ->
       if
       :: L == READER+1 -> L = 0; pc = GRANT
#ifdef SHARE_UNCHECKED
       :: L != READER+1 -> pc = GRANT
#else
       :: else -> pc = LEAVE
#endif
       fi;
       late[READER] = true }
  /* After R2 or R3 */
  :: d_step { pc == GRANT ->
       if
#ifndef SHARE_LATE
       :: oldBeat -> pc = LEAVE
#endif
       :: else -> assert(working == 0); old = oldBeat; oldBeat = true; written = false; pc = SHARED
       fi }
  /* The critical section, one piece of work at a time, each after reading its age */
  :: d_step { pc == SHARED && !old -> assert(working == 0); window[READER] = true; pc = WORK }
  :: d_step { pc == WORK -> window[READER] = false; pc = SHARED }
  /* A heartbeat, or verify. A late one is made while nobody can evict. */
  :: d_step { pc == SHARED ->
       oldBeat = false;
#ifdef BEAT_UNCLAIMED
       pc = OPEN
#else
       if :: old -> pc = CLAIM :: else -> pc = OPEN fi
#endif
       }
  :: d_step { pc == CLAIM && UNCLAIMED(READER) -> takeClaim(READER); claimed = true; oldBeat = false; pc = OPEN }
  :: d_step { pc == OPEN -> if :: R -> pc = WRITE :: else -> pc = LEAVE fi }
  :: d_step { pc == WRITE -> changed(); written = true; pc = COMPARE }
  :: d_step { pc == COMPARE ->
       if
#ifndef NO_PATH_CHECK
       :: !R -> pc = LEAVE                                /* lost */
#endif
#ifndef CLAIM_LATE
       :: claimed && (claim != READER+1 || lateClaim) -> pc = SHARED
#endif
#if !defined(BEAT_UNCLAIMED) && !defined(BEAT_LATE)
       :: old && !claimed -> pc = SHARED                  /* it does not count, and is made again */
#endif
       :: else -> OURS(R); old = oldBeat; pc = SHARED
       fi;
       giveBack(READER); claimed = false; written = false; oldBeat = true }
  /* R4 */
  :: d_step { pc == SHARED -> pc = LEAVE }
  :: d_step { pc == LEAVE -> giveBack(READER); claimed = false; R = false; pc = RMDIR }
  :: d_step { pc == RMDIR ->
#ifndef RECURSIVE
       S = false;
#endif
       old = true; oldBeat = true; written = false; pc = IDLE }
  /* Time passes. */
  :: d_step { !old -> old = true }
  :: d_step { !oldBeat -> oldBeat = true }
  :: d_step { L == READER+1 && !late[READER] -> late[READER] = true }
  :: d_step { claim != 0 && !lateClaim -> lateClaim = true }
#if CRASHES > 0
  /* Killed; another one takes its place once the file is gone. */
  :: d_step { pc != IDLE ->
       if :: L == READER+1 -> L = DEAD :: else fi;
       giveBack(READER); claimed = false;
       late[READER] = true; window[READER] = false; old = true; oldBeat = true; written = false; pc = IDLE }
#endif
  od
}

#define W_OBTAIN 0
#define VERIFY 1
#define CLEAR 2
#define REMOVE 3
#define READ 4
#define JUDGE 5
#define TAKE 6
#define READ_AGAIN 7
#define UNLINK 8
#define ENTER 9
#define INSIDE 10
#define W_WORK 11

/* Evicted, or not there any more */
inline evicted() { same[p] = false; known[p] = false; if :: p > W -> pc = READ :: else -> pc = ENTER fi }
inline lookAgain() { same[p] = false; known[p] = false; if :: p > W -> pc = READ :: else -> pc = VERIFY fi }
inline release() { if :: L == p+1 -> L = 0 :: else fi; late[p] = true; pc = W_OBTAIN }

proctype Writer(byte p) {
  byte pc = W_OBTAIN;
  do
  :: d_step { pc == W_OBTAIN && p > W -> pc = READ }
  :: d_step { pc == W_OBTAIN && p <= W && FREE(p) -> L = p+1; late[p] = false; pc = CLEAR }
  /* E2: each further look begins with L. If that was lost, it begins anew. */
  :: d_step { pc == VERIFY -> if :: L == p+1 -> late[p] = false; pc = CLEAR :: else -> release() fi }
  /* E1 */
  :: d_step { pc == CLEAR ->
       if
       :: !S -> pc = ENTER
#ifdef RECURSIVE        /* the list is empty, and what is there by then is removed with the directory */
#ifdef REMOVE_LATE
       :: S && !R -> pc = REMOVE
#else
       :: S && !R && !late[p] -> window[p] = true; pc = REMOVE
       :: S && !R && late[p] -> pc = VERIFY
#endif
#else
       :: S && !R -> S = false; pc = ENTER
#endif
       :: else -> pc = READ
       fi }
#ifdef RECURSIVE
  :: d_step { pc == REMOVE -> S = false; R = false; window[p] = false; pc = ENTER }
#endif
  /* Read it until it has not changed for a lease. */
  :: d_step { pc == READ && R -> same[p] = true; known[p] = true; pc = JUDGE }
  :: d_step { pc == READ && !R && p <= W -> evicted() }
  :: d_step { pc == JUDGE && (!R || !same[p]) -> lookAgain() }
  :: d_step { pc == JUDGE && R && same[p] && SILENT -> pc = TAKE }
  /* Evict */
  :: d_step { pc == TAKE && UNCLAIMED(p) -> takeClaim(p); pc = READ_AGAIN }
  :: d_step { pc == READ_AGAIN ->
       if
#ifdef NO_READ_AGAIN
       :: claim == p+1 && !lateClaim -> claimWindow = true; pc = UNLINK
#else
#ifdef EVICT_LATE
       :: R && same[p] -> pc = UNLINK
#else
       :: R && same[p] && claim == p+1 && !lateClaim -> claimWindow = true; pc = UNLINK
#endif
#endif
       :: else -> giveBack(p); lookAgain()
       fi }
  :: d_step { pc == UNLINK -> if :: known[p] -> R = false :: else fi; giveBack(p); evicted() }
  /* While it looked, it may have stood still. */
  :: d_step { pc == ENTER ->
       if
#ifndef GRANT_LATE
       :: late[p] -> pc = VERIFY
#endif
       :: else -> assert(working == 0); OURS(!window[READER]); pc = INSIDE
       fi }
  /* The critical section, and the heartbeat of L */
  :: d_step { pc == INSIDE && !late[p] ->
       assert(working == 0); working++; assert(working == 1 && !window[READER]);
       window[p] = true; pc = W_WORK }
  :: d_step { pc == W_WORK -> working--; window[p] = false; pc = INSIDE }
  :: d_step { p <= W && pc != W_OBTAIN && L == p+1 && late[p] -> late[p] = false }
  :: d_step { pc == INSIDE || pc == ENTER -> release() }
  :: d_step { p <= W && !late[p] -> late[p] = true }
#if CRASHES > 0
  /* Killed */
  :: d_step { pc != W_OBTAIN ->
       if :: pc == W_WORK -> working-- :: else fi;
       if :: L == p+1 -> L = DEAD :: else fi;
       giveBack(p);
       window[p] = false; late[p] = true; same[p] = false; known[p] = false; pc = W_OBTAIN }
#endif
  od
}

init { atomic {
  byte n = 1;
  late[READER] = true;
#ifdef NO_CLEANUP
  do :: n <= W -> late[n] = true; run Writer(n); n++ :: else -> break od;
#else
  do :: n <= W+1 -> late[n] = true; run Writer(n); n++ :: else -> break od;
#endif
  n = 0
} }
#endif
