/*
 * The hand-over of a lock between processes: the request files, the queue that the holder's process keeps, and the messages.
 *
 * A waiter sleeps until a message arrives, the connection to the holder's process closes, or, as a last resort, its fallback poll
 * comes. Claims are simpler here than they are: lockfile.pml has them. README.md explains what is left out and why.
 */
#ifndef N
#define N 3             /* processes */
#endif
#ifndef ROUNDS
#define ROUNDS 1        /* acquisitions of each process */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef WITHDRAWALS
#define WITHDRAWALS 1
#endif
#ifndef LOST
#define LOST 0          /* messages that never arrive */
#endif
#ifndef FORGED
#define FORGED 0        /* messages that nobody sent */
#endif
#ifdef EXCLUSION_ONLY
#define OURS(c) skip
#else
#define OURS(c) assert(c)
#endif
#define CAPACITY 6      /* of the connection to a process */

/* A token is one acquisition: 1 to N * ROUNDS. */
#define token(r) ((r) * N + p + 1)
#define owner(t) (((t) - 1) % N)
#define bit(t) (1 << ((t) - 1))
#define TOKENS (N * ROUNDS)

mtype = { wait, granted, next, moved };
chan to[N] = [CAPACITY] of { mtype, byte, byte, byte }; /* kind, its token, the owner's token, the rest of the queue */

byte L = 0;             /* the token of the record at the lock file; 0: nothing is there */
byte Q = 0;             /* the request files, a bit for each token */
bool claimed = false;   /* the right to replace a dead process's record */
byte claimer;
bool dead[N];
byte deaths = 0;
byte withdrawals = 0;
byte lost = 0;
byte forged = 0;
byte holders = 0;       /* processes in their critical section */

#define exists(t) ((Q & bit(t)) != 0)
#define isDead(t) ((t) != 0 && dead[owner(t)])
/* Between any two steps. What a dead process had on the disk is as it left it. */
#define mayDie if :: deaths < DEATHS -> goto dies :: true fi

#define FORGET t = 0; o = 0; q = 0

inline send(whom, kind, what, whose, others) {
  if
  :: dead[owner(whom)] -> skip
  :: !dead[owner(whom)] && nfull(to[owner(whom)]) -> to[owner(whom)]!kind(what, whose, others)
  :: lost < LOST -> lost++
  fi
}

/* We do not hold the lock that somebody waits for. */
inline answer() {
#ifndef NO_MOVED
  send(t, moved, t, o, 0);
#endif
  FORGET
}

/* Some token of the queue. */
inline choose() {
  j = 1;
  do
  :: (queue & bit(j)) != 0 -> break
  :: j < TOKENS && (queue >> j) != 0 -> j++
  od
}

/* What the directory says, at some moment. */
inline list() { queue = Q & ~bit(tok) }

proctype P(byte p) {
  byte r = 0;
  byte tok = 0;         /* of the acquisition under way, or of the last one */
  byte known = 0;       /* the owner that has been told that we wait, or of whom we were told that it holds */
  byte asked = 0;       /* the owner that has said that it does not hold */
  byte seen = 0;
  byte queue = 0;       /* who comes next, while we hold */
  byte carried = 0;     /* the queue as the last holder left it */
  bool told = false;    /* it is known */
  bit in = 0;
  bool withdrawn = false;
  bool barged = false;  /* the link of a request file was answered by EEXIST */
  byte t; byte o; byte q; byte j; byte given;

again:
  if
  :: r == ROUNDS -> goto rest
  :: r < ROUNDS -> skip
  fi;
  d_step { tok = token(r); r++; known = 0; asked = 0; queue = 0; carried = 0; told = false; withdrawn = false };
  Q = Q | bit(tok);
  mayDie;

look:
  if
  :: d_step { L == 0 && exists(tok) -> L = tok }; goto entered
  :: else -> skip
  fi;
  seen = L;
  if
  :: seen == tok -> seen = 0; goto entered
  :: seen == 0 -> goto look
  :: seen != tok && isDead(seen) -> goto takeover
  :: seen != tok && seen != 0 && !isDead(seen) -> skip
  fi;
  atomic {
    if
    :: seen != known || asked == seen -> known = seen; asked = 0; send(seen, wait, tok, seen, 0)
    :: else -> skip
    fi;
    seen = 0
  };
  mayDie;

asleep:
  if
  :: atomic { to[p]?wait(t, o, q) ->
      if
      :: o == tok && L == tok -> FORGET; goto entered /* we hold without knowing it */
      :: else -> answer(); goto asleep
      fi }
  :: atomic { to[p]?granted(t, o, q) ->
      if
#ifdef MESSAGE_GRANTS
      :: t == tok -> carried = q; told = true; FORGET; L = tok; goto entered
#else
      :: t == tok -> carried = q; told = true; FORGET; goto look
#endif
      :: else -> FORGET; goto asleep
      fi }
  :: atomic { to[p]?next(t, o, q) ->
      if :: t == tok -> known = o :: else -> skip fi;
      FORGET; goto asleep }
  :: atomic { to[p]?moved(t, o, q) ->
      if
      :: t == tok && (o == known || o == 0) -> asked = o; FORGET; goto look
      :: else -> FORGET; goto asleep
      fi }
  :: isDead(known) -> known = 0; goto look           /* its connection closes */
  :: withdrawals < WITHDRAWALS -> withdrawals++; goto withdraw
#ifdef POLL
  :: timeout -> asked = L; goto look
#endif
  fi;

takeover:
  if
  :: d_step { !claimed -> claimed = true; claimer = p }
  :: d_step { claimed && dead[claimer] -> claimer = p }
  :: L != seen -> goto look
  fi;
  mayDie;
  if
  :: d_step { L == seen -> L = tok; claimed = false; seen = 0 }
  :: d_step { L != seen -> claimed = false }; goto look
  fi;
  mayDie;
  goto entered;

withdraw:
  mayDie;
  Q = Q & ~bit(tok);
  mayDie;
#ifdef NO_LOOK
  goto again;
#endif
  if
  :: L == tok -> withdrawn = true; goto collect       /* given meanwhile */
  :: else -> goto again
  fi;

entered:
#ifndef LATE_UNLINK
  Q = Q & ~bit(tok);
#endif
  mayDie;

collect:
  /* Without the last holder's queue the directory has it. It is asked now, or later: also after the release. */
  if
  :: told -> queue = carried
#ifndef NO_LIST
  :: !told -> list(); told = true
#endif
  :: !told -> skip
  fi;
  mayDie;
  if
  :: withdrawn -> goto release
  :: else -> d_step { holders++; in = 1; assert(holders == 1) }
  fi;
  do
  :: atomic { to[p]?wait(t, o, q) ->
      if
      :: o == tok -> if :: exists(t) -> queue = queue | bit(t) :: else -> skip fi; FORGET
      :: else -> answer()
      fi }
  :: atomic { to[p]?granted(t, o, q) ->
      if :: t == tok -> queue = queue | (q & ~bit(tok)); told = true :: else -> skip fi; FORGET }
  :: atomic { to[p]?next(t, o, q) -> FORGET }
  :: atomic { to[p]?moved(t, o, q) -> FORGET }
  :: break
  od;
  mayDie;
  d_step { holders--; in = 0 };

release:
  OURS(L == tok);
  L = 0;
  mayDie;
#ifdef LATE_UNLINK
  Q = Q & ~bit(tok);
  mayDie;
#endif
#ifndef NO_LIST
  if
  :: told -> skip
  :: !told -> queue = queue | (Q & ~bit(tok))
  fi;
  mayDie;
#endif
  /* The queue is a set here: it may be handed over in any order. */
  do
  :: queue == 0 -> break
  :: queue != 0 ->
    atomic { choose(); queue = queue & ~bit(j) };
    atomic {
      given = 0; barged = false;
      if
      :: !exists(j) -> skip
      :: exists(j) && L == 0 -> L = j; given = j
      :: exists(j) && L != 0 -> barged = true
      fi
    };
    mayDie;
    if
    :: given != 0 ->
      send(given, granted, given, given, queue);
      mayDie;
      /* One of the others hears who holds now, and so hears of its death. */
      if
      :: queue != 0 ->
        atomic {
          choose();
#ifndef NO_NEXT
          send(j, next, j, given, 0);
#endif
          queue = 0
        }
      :: else -> skip
      fi;
      break
    :: given == 0 && barged ->
      /* Somebody was faster: all others look. */
#ifndef NO_BARGED
      queue = queue | bit(j);
      do
      :: queue == 0 -> break
      :: queue != 0 -> atomic { choose(); queue = queue & ~bit(j); send(j, moved, j, 0, 0) }; mayDie
      od;
#endif
      queue = 0; break
    :: given == 0 && !barged -> skip                   /* it has withdrawn */
    fi
  od;
  j = 0; given = 0; barged = false;
  goto again;

rest: /* a process that wants nothing answers a waiter that believes that it holds */
end:
  do
  :: atomic { to[p]?wait(t, o, q) -> answer() }
  :: atomic { to[p]?granted(t, o, q) -> FORGET }
  :: atomic { to[p]?next(t, o, q) -> FORGET }
  :: atomic { to[p]?moved(t, o, q) -> FORGET }
  od;

dies:
  skip;
  d_step {
    dead[p] = true; deaths++; holders = holders - in; in = 0;
    tok = 0; known = 0; asked = 0; seen = 0; queue = 0; carried = 0; told = false; withdrawn = false; barged = false;
    FORGET; j = 0; given = 0; r = 0
  }
}

/* Anybody may connect and say anything. */
proctype Forger() {
  byte t;
  do
  :: forged < FORGED ->
    forged++;
    t = 1;
    do :: t < TOKENS -> t++ :: break od;
    if
    :: nfull(to[owner(t)]) && !dead[owner(t)] -> to[owner(t)]!granted(t, t, 0)
    :: nfull(to[owner(t)]) && !dead[owner(t)] -> to[owner(t)]!next(t, t, 0)
    :: nfull(to[owner(t)]) && !dead[owner(t)] -> to[owner(t)]!wait(t, t, 0)
    :: true
    fi
  :: break
  od
}

init {
  atomic {
    byte i = 0;
    do :: i < N -> run P(i); i++ :: else -> break od;
    run Forger()
  }
}
