/*
 * Who is next: L, and the slot N of the process that waits at its head (docs/protocol.md, "Waiting").
 *
 * L and N are lock files of one protocol, which lockfile.pml is about; here each is one variable, taken and given back in one
 * step, and what is asked is who may overtake whom. A process that is next and waits (a head) may be overtaken by each other one:
 * once by coming cold or having looked too early, and TURN times in a turn that has begun. Then that process lines up.
 *
 *   P        processes
 *   TURN     how often a process may have L again before it looks for a head
 *   CRASHES  how many may die, wherever they are
 *   STOPS    how many may stand still for good
 *
 * Guards that can be left out: NO_LOOK (whoever released L does not look for a head), NO_COURTESY (whoever waits behind a head
 * asks for L all the same), NO_BURIAL (a dead head keeps its slot), NO_PATIENCE (nobody ever passes by a head that stands still).
 *
 * Left out: time. A turn is a number of acquisitions here and 10 ms in the library; a process comes cold once, and there after
 * 100 ms without the lock; who stands still is known at once, and there after 250 ms.
 */
#ifndef P
#define P 3
#endif
#ifndef TURN
#define TURN 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef STOPS
#define STOPS 0
#endif

#define NOBODY 255
#define BOUND ((P - 1) * (TURN + 1))

byte L = NOBODY, N = NOBODY;
bit dead[P], still[P];
bit waitsAtHead[P];
byte overtaken[P];
byte crashes = CRASHES, stops = STOPS;
byte inside = 0;

#define deadAt(x) (x != NOBODY && dead[x])
#define stillAt(x) (x != NOBODY && still[x])

inline enter() {
  inside++;
  assert(inside == 1);
  k = 0;
  do
  :: k < P ->
     if
     :: k != me && waitsAtHead[k] && !dead[k] && !still[k] ->
        overtaken[k]++;
        assert(overtaken[k] <= BOUND)
     :: else
     fi;
     k++
  :: else -> break
  od;
  k = 0;
  waitsAtHead[me] = 0;
  overtaken[me] = 0
}

/* Whoever dies inside leaves L; it is taken over by the next one who asks. */
inline mayEnd() {
  if
  :: crashes > 0 -> atomic { crashes--; dead[me] = 1; if :: L == me -> inside-- :: else fi; goto ended }
  :: true
  fi
}

inline mayStop() {
  if
  :: stops > 0 -> atomic { stops--; still[me] = 1; goto end_stopped }
  :: true
  fi
}

active [P] proctype process() {
  byte me = _pid, had = 0, k = 0;
  bit cold = 1;

wants:
  if
  :: cold || had < TURN -> cold = 0; goto ask
  :: else ->
     had = 0;
#ifdef NO_LOOK
     goto ask
#else
     if
     :: N == NOBODY -> goto ask
     :: N != NOBODY -> goto behind
     fi
#endif
  fi;

ask:
  atomic {
    if
    :: L == NOBODY || deadAt(L) -> L = me; enter(); goto holds
    :: else -> goto behind
    fi
  };

behind:
  mayStop();
  atomic {
    if
#ifdef NO_BURIAL
    :: N == NOBODY
#else
    :: N == NOBODY || deadAt(N)
#endif
       -> N = me; waitsAtHead[me] = 1; overtaken[me] = 0; goto head
#ifndef NO_PATIENCE
    :: stillAt(N) && (L == NOBODY || deadAt(L)) -> L = me; enter(); goto holds
#endif
#ifdef NO_COURTESY
    :: L == NOBODY || deadAt(L) -> L = me; enter(); goto holds
#endif
    fi
  };

head:
  mayEnd();
  mayStop();
  atomic { L == NOBODY || deadAt(L) -> L = me; had = 0; enter() };
  mayEnd();
  if
  :: atomic { N == me -> N = NOBODY }
  :: N != me
  fi;

holds:
  mayEnd();
  had++;
  atomic { inside--; L = NOBODY };
  goto wants;

end_stopped:
  false;
ended:
  skip
}
