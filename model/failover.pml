/*
 * The replication protocol of docs/protocol.md as a Promela model, for an exhaustive search by Spin. The numbers (P12)
 * are its statements.
 *
 *     spin -a -DCRASHES=2 model/failover.pml && gcc -O2 -DCOLLAPSE -DSAFETY -o pan pan.c && ./pan -m100000
 *
 * test/model.test.ts runs the variants that count, and every planted bug.
 *
 * Three hosts, each with at most one process at a time. A copy of the machine is nothing but its log: record i is named
 * by the process that wrote it, so that two copies are the same machine exactly if their logs are equal. Every record
 * carries an output and a flush of the disk. Whatever may be released is released at once: a later release is only
 * easier, since whoever has gone live in between has been checked against it.
 *
 * Time is absent. A process may stand still between any two of its steps for as long as it likes, and suspects others
 * whenever it likes (or only with cause, if DOUBTS are counted): pauses, partitions and slow disks are this. The primary
 * does not shut its gate after a pause here (P68): what is checked holds without that.
 *
 * The logging channel is a prefix: what a follower has not copied is still on its way, or lost and sent again. Of the
 * acknowledgements in flight the newest is kept; it arrives at any later moment or never, survives the process that sent
 * it, and dies with the process that it is meant for. (That an older one arrives first, or alone, releases less, and is
 * the same as if the follower had received the rest later.) A request to the arbiter lands at any later moment or never,
 * whatever has become of its sender.
 *
 * Execution matters at three moments only: when a joining copy is complete, when a backup claims, when the primary hands
 * over; so it is one step to the last record, taken then.
 *
 * Not modelled: forced starts (they give up what is checked), divergence, stop in order, the arbiter's forgetting, link
 * and ordinals (the fence has tests of its own).
 */

#ifndef RECORDS
#define RECORDS 3         /* records of a life, at most */
#endif
#ifndef EPOCHS
#define EPOCHS 4          /* the last configuration */
#endif
#ifndef INCARNATIONS
#define INCARNATIONS 2    /* processes of a host, one after the other */
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef DOUBTS
#define DOUBTS 255        /* suspicions without cause; 255: any number */
#endif

#define HOSTS 3
#define NONE 3            /* no host */

mtype:role = {
  DOWN,       /* no process */
  STARTING,   /* a process without a part */
  COLD,       /* has proposed a cold start */
  JOINING,    /* its state is on its way */
  JOINED,     /* its state is complete; the configuration does not name it */
  BACKUP,
  SEALED,     /* acknowledges nothing and receives nothing more */
  CLAIMING,   /* has proposed to go live */
  PRIMARY
}

/* What the follower of a primary has come to. */
mtype:follower = { TRANSFER, GATING, READY, FOLLOWS }

/* The change that a primary has proposed and whose outcome it does not know. */
mtype:change = { NO, DROP, ADD, HAND }

typedef Host {
  mtype:role role;
  byte inc;               /* incarnation of the present or last process */
  bool disk;              /* its disk is whole */
  byte epoch;             /* of the configuration that it acts by */
  byte life;
  byte received;          /* records 1 to received are here; of a host that is down: are on its disk */
  byte exec;              /* and 1 to exec have been executed */
  byte tag[RECORDS + 1];

  byte source;            /* as a follower: host and incarnation of the primary */
  byte sourceInc;
  byte ackEpoch;          /* its newest acknowledgement, if that is above zero */
  byte ackInc;
  byte ackReceived;
  byte ackExec;

  bool named;             /* as a primary: its configuration names a backup */
  byte follower;
  byte followerInc;
  mtype:follower state;
  byte gateFrom;
  byte acked;
  mtype:change change;
  bool told;              /* the answer that the change is won is on its way */
  bool stopped;           /* stands still to hand over */
}

Host H[HOSTS];

/* The arbiter's record, and what the world has seen of the recorded life. */
byte rEpoch = 1;
byte rLife = 1;
byte rPrimary;
byte rPrimaryInc = 1;
byte rBackup = NONE;
byte rBackupInc;
byte relLen;
byte relTag[RECORDS + 1];

/* Requests that start from the record and have not landed. Those that start from earlier ones can do nothing any more. */
bool qDrop;
byte qAdd = NONE;
byte qAddInc;
bool qLive;
bool qHand;
byte qCold;               /* a bit for each incarnation of the recorded primary's host */

byte crashes;
byte doubts;

/* Whether this process lives and has a copy of the machine. */
#define lives(host, incarnation) (H[host].inc == (incarnation) && hasCopy(H[host].role))
#define hasCopy(role) (role == JOINED || role == BACKUP || role == SEALED || role == CLAIMING || role == PRIMARY)
#define holds(host, i, t) (H[host].received >= (i) && H[host].tag[i] == (t))

#ifdef BUG_COLD_START
#define isConfirmed true
#else
/* The backup's host answers for the dead: another process runs there, and stays dead who is. (P50) */
#define isConfirmed (rBackup == NONE || (H[rBackup].role != DOWN && H[rBackup].inc != rBackupInc))
#endif

#ifdef BUG_ACK_AFTER_SEAL
#define receives(role) (role == JOINED || role == BACKUP || role == SEALED || role == CLAIMING)
#else
#define receives(role) (role == JOINED || role == BACKUP)
#endif

/* Whether the process that h follows is not there any more. */
#define isOrphan(h) (H[H[h].source].inc != H[h].sourceInc || H[H[h].source].role != PRIMARY)

inline clearLog(h, from) {
  i = from;
  do
  :: i <= RECORDS -> H[h].tag[i] = 0; i++
  :: else -> break
  od;
  i = 0
}

inline clearAck(h) { H[h].ackEpoch = 0; H[h].ackInc = 0; H[h].ackReceived = 0; H[h].ackExec = 0 }

/* Only to keep states few: what is on disks that no configuration can name any more makes no difference. */
inline forget() {
  g = 0;
  do
  :: g < HOSTS ->
    if
    :: (H[g].role == DOWN || H[g].role == STARTING) && rPrimary != g && rBackup != g && qAdd != g ->
      H[g].received = 0; H[g].exec = 0; H[g].disk = false; H[g].follower = NONE; clearLog(g, 1)
    :: else
    fi;
    g++
  :: else -> break
  od;
  g = 0
}

/* The process ends, by a crash or by itself. What it knew is lost; what it had executed is on its disk. */
inline die(h) {
  if
  :: H[h].role == JOINING -> H[h].disk = false; H[h].received = 0; H[h].exec = 0
  :: H[h].role == PRIMARY && H[h].follower != NONE -> f = H[h].follower; clearAck(f); f = 0
  :: else
  fi;
  if
  :: H[h].received > H[h].exec -> H[h].received = H[h].exec
  :: else
  fi;
  clearLog(h, H[h].received + 1);
  H[h].role = DOWN; H[h].epoch = 0; H[h].life = 0; H[h].source = 0; H[h].sourceInc = 0;
  H[h].named = false; H[h].state = TRANSFER; H[h].gateFrom = 0; H[h].acked = 0; H[h].change = NO;
  H[h].told = false; H[h].stopped = false; H[h].followerInc = 0;
  forget()
}

/*
 * Output i of h reaches the world. It is the same output as before if there was one; and whoever the record names and
 * lives, whether it knows of that or not, has the record: it cannot become a machine that has not put this out.
 */
inline release(h, i) {
  assert(H[h].life == rLife);
  if
  :: i <= relLen -> assert(relTag[i] == H[h].tag[i])
  :: else -> relLen = i; relTag[i] = H[h].tag[i]
  fi;
  assert(!lives(rPrimary, rPrimaryInc) || holds(rPrimary, i, H[h].tag[i]));
  assert(rBackup == NONE || !lives(rBackup, rBackupInc) || holds(rBackup, i, H[h].tag[i]))
}

/* Everything leaves that the output rule lets. (P20 to P23) */
inline flush(h) {
  limit = 0;
  if
#ifdef BUG_GATE_OPENED
  :: H[h].change == ADD -> limit = H[h].received
  :: H[h].change != NO && H[h].change != ADD
#else
  :: H[h].change != NO
#endif
  :: H[h].change == NO ->
    if
    :: H[h].follower == NONE || H[h].state == TRANSFER ->
      limit = H[h].received;
#if !defined(BUG_UNKNOWN_LOST) && !defined(BUG_ABANDONED_CHANGE)
      /* Nobody else can have acted for the machine. */
      assert(rEpoch == H[h].epoch)
#endif
    :: H[h].follower != NONE && (H[h].state == GATING || H[h].state == READY) ->
      limit = (H[h].acked >= H[h].gateFrom -> H[h].acked : H[h].gateFrom - 1)
    :: H[h].follower != NONE && H[h].state == FOLLOWS ->
#ifdef BUG_EARLY_RELEASE
      limit = H[h].received
#else
      limit = H[h].acked
#endif
    fi
  fi;
  /* In another life there is nobody to compare with: what is acknowledged was as good as released. */
  i = 1;
  do
  :: i <= limit && H[h].life == rLife -> release(h, i); i++
  :: else -> break
  od;
  i = 0; limit = 0
}

/* The record of the next epoch. All requests that started from the last one are void. */
inline decide(primary, primaryInc, backup, backupInc) {
  rPrimary = primary; rPrimaryInc = primaryInc; rBackup = backup; rBackupInc = backupInc;
  rEpoch++;
  qDrop = false; qAdd = NONE; qAddInc = 0; qLive = false; qHand = false; qCold = 0;
  forget()
}

/* A cold start: from the recorded disk, which has all that was flushed for the world to know; never beside a backup. */
inline decideCold(incarnation) {
  assert(rBackup == NONE || !lives(rBackup, rBackupInc));
  assert(H[rPrimary].disk);
  i = 1;
  do
  :: i <= relLen -> assert(holds(rPrimary, i, relTag[i])); relTag[i] = 0; i++
  :: else -> break
  od;
  i = 0; relLen = 0;
  decide(rPrimary, incarnation, NONE, 0);
  rLife = rEpoch
}

active proctype Arbiter() {
  byte i, g;
end:
  do
  :: d_step { qDrop -> decide(rPrimary, rPrimaryInc, NONE, 0) }
  :: d_step { qAdd != NONE -> decide(rPrimary, rPrimaryInc, qAdd, qAddInc) }
  :: d_step { qLive || qHand -> decide(rBackup, rBackupInc, NONE, 0) }
  :: d_step { qCold & 1 -> decideCold(1) }
  :: d_step { qCold & 2 -> decideCold(2) }
  :: d_step { qCold & 4 -> decideCold(3) }
  od
}

/* The change `kind` of primary h, to be asked for until it is known (P10); it can only land if h is up to date. */
inline propose(h, kind) {
  H[h].change = kind;
  if
  :: H[h].epoch == rEpoch && kind == DROP -> qDrop = true
  :: H[h].epoch == rEpoch && kind == ADD -> qAdd = H[h].follower; qAddInc = H[h].followerInc
  :: H[h].epoch == rEpoch && kind == HAND -> qHand = true
  :: else
  fi
}

/* h gives its follower up. A backup is dropped by a change, a joining copy is forgotten. (P37, P39) */
inline loseFollower(h) {
  H[h].follower = NONE; H[h].followerInc = 0; H[h].state = TRANSFER; H[h].gateFrom = 0; H[h].acked = 0;
  H[h].stopped = false;
  if
  :: H[h].change == NO && H[h].named -> propose(h, DROP)
  :: else
  fi;
  flush(h)
}

inline becomePrimary(h) {
  H[h].role = PRIMARY; H[h].epoch = rEpoch; H[h].life = rLife;
  H[h].source = 0; H[h].sourceInc = 0; H[h].named = false; H[h].follower = NONE; H[h].followerInc = 0;
  H[h].state = TRANSFER; H[h].change = NO
}

/* One lineage: every output that anybody has released is in the past of whoever goes live. */
inline goLive(h) {
  assert(H[h].life == rLife && H[h].received >= relLen);
#if !defined(BUG_LIVE_EARLY) && !defined(BUG_ACK_AFTER_SEAL)
  assert(H[h].exec == H[h].received);
#endif
  H[h].received = H[h].exec;
  clearLog(h, H[h].received + 1);
  i = 1;
  do
  :: i <= relLen -> assert(holds(h, i, relTag[i])); i++
  :: else -> break
  od;
  i = 0;
  becomePrimary(h);
  flush(h)
}

/* Puts an acknowledgement in the place of the one in flight. */
inline acknowledge(h) {
  if
  :: H[H[h].source].follower == h && !isOrphan(h) ->
    H[h].ackEpoch = H[h].epoch; H[h].ackInc = H[h].inc; H[h].ackReceived = H[h].received; H[h].ackExec = H[h].exec
  :: else
  fi
}

/* A suspicion of one that lives is counted, if that is limited. */
inline doubt(isFounded) {
  if
  :: isFounded || DOUBTS == 255
  :: !(isFounded) && DOUBTS != 255 -> doubts++
  fi
}

#define mayDoubt(isFounded) ((isFounded) || doubts < DOUBTS)

/* p takes h as a joining copy; h gets the state of now, and records from here on. (P41) */
inline join(h, p) {
  H[p].follower = h; H[p].followerInc = H[h].inc; H[p].state = TRANSFER; H[p].acked = H[p].received;
  H[h].role = JOINING; H[h].source = p; H[h].sourceInc = H[p].inc; H[h].epoch = H[p].epoch; H[h].life = H[p].life;
  H[h].disk = false; clearAck(h); H[h].received = H[p].received; H[h].exec = H[p].received;
  i = 1;
  do
  :: i <= H[p].received -> H[h].tag[i] = H[p].tag[i]; i++
  :: else -> break
  od;
  clearLog(h, H[h].received + 1)
}

#define mayJoin(h, p) (H[h].role == STARTING && rPrimary != h && H[p].role == PRIMARY && !H[p].named && \
  H[p].follower == NONE && H[p].change == NO)

/* The primary has given this copy up and would take another: its join cannot go on. */
#define isForgotten(h) (H[H[h].source].role == PRIMARY && H[H[h].source].inc == H[h].sourceInc && \
  H[H[h].source].follower == NONE && H[H[h].source].change == NO && !H[H[h].source].named)

#define followerOf(h) H[H[h].follower]
/* Whether an acknowledgement that counts is there for h: of its configuration, and of its follower. */
#define isAcked(h) (H[h].follower != NONE && followerOf(h).ackEpoch == H[h].epoch && \
  followerOf(h).ackInc == H[h].followerInc)
/* Whether the process that follows h is not there any more. */
#define isBereft(h) (H[h].follower != NONE && (followerOf(h).role == DOWN || followerOf(h).inc != H[h].followerInc))

proctype Process(byte h) {
  byte i, f, g, limit;
end:
  do
  /* Any process. */
  :: d_step { H[h].role != DOWN && H[h].role != STARTING && crashes < CRASHES -> crashes++; die(h) }
  :: d_step { H[h].role == DOWN && H[h].inc < INCARNATIONS ->
#ifndef BUG_IDENTITY
      H[h].inc++;
#endif
      H[h].follower = NONE; H[h].role = STARTING }
#ifdef BUG_IDENTITY
  /* It finds itself in the record, and takes the part. */
  :: d_step { H[h].role == STARTING && rBackup == h && rBackupInc == H[h].inc ->
      H[h].role = BACKUP; H[h].epoch = rEpoch; H[h].life = rLife;
      H[h].source = rPrimary; H[h].sourceInc = rPrimaryInc }
#endif

  /* Starting. (P49, P50, P54) */
  :: d_step { H[h].role == STARTING && rPrimary == h && H[h].disk && isConfirmed && rEpoch < EPOCHS ->
      H[h].role = COLD; H[h].epoch = rEpoch; qCold = qCold | (1 << (H[h].inc - 1)) }
  :: d_step { H[h].role == COLD && rEpoch > H[h].epoch && rPrimary == h && rPrimaryInc == H[h].inc ->
      H[h].received = 0; H[h].exec = 0; clearLog(h, 1); becomePrimary(h) }
  :: d_step { H[h].role == COLD && rEpoch > H[h].epoch && !(rPrimary == h && rPrimaryInc == H[h].inc) ->
      H[h].role = STARTING; H[h].epoch = 0 }
  :: d_step { mayJoin(h, (h + 1) % HOSTS) -> f = (h + 1) % HOSTS; join(h, f); f = 0 }
  :: d_step { mayJoin(h, (h + 2) % HOSTS) -> f = (h + 2) % HOSTS; join(h, f); f = 0 }

  /* Joining. (P41 to P47) */
  :: d_step { H[h].role == JOINING -> H[h].role = JOINED; H[h].disk = true; acknowledge(h) }
  :: d_step { H[h].role == JOINING && rEpoch > H[h].epoch -> die(h) }
  :: d_step { H[h].role == JOINED && rEpoch > H[h].epoch && rBackup == h && rBackupInc == H[h].inc ->
      H[h].role = BACKUP; H[h].epoch = rEpoch; acknowledge(h) }
  :: d_step { H[h].role == JOINED && rEpoch > H[h].epoch && !(rBackup == h && rBackupInc == H[h].inc) -> die(h) }
  :: d_step { (H[h].role == JOINING || H[h].role == JOINED) && isForgotten(h) -> die(h) }

  /* Following: records come one by one. */
  :: d_step { receives(H[h].role) && H[H[h].source].inc == H[h].sourceInc && H[H[h].source].follower == h &&
      H[h].received < H[H[h].source].received ->
      H[h].received++; H[h].tag[H[h].received] = H[H[h].source].tag[H[h].received]; acknowledge(h) }
  :: d_step { (H[h].role == JOINED || (H[h].role == BACKUP && H[H[h].source].stopped)) &&
      H[h].exec < H[h].received && !isOrphan(h) -> H[h].exec = H[h].received; acknowledge(h) }

  /* The backup goes live: seal, catch up, claim. (P30 to P34) */
  :: d_step { H[h].role == BACKUP && rEpoch < EPOCHS && mayDoubt(isOrphan(h)) -> doubt(isOrphan(h)); H[h].role = SEALED }
  :: d_step { H[h].role == BACKUP && rEpoch > H[h].epoch ->
      if
      :: rPrimary == h && rPrimaryInc == H[h].inc -> H[h].role = SEALED
      :: else -> die(h)
      fi }
  :: d_step { H[h].role == SEALED ->
#ifndef BUG_LIVE_EARLY
      H[h].exec = H[h].received;
#endif
      H[h].role = CLAIMING;
      if
      :: H[h].epoch == rEpoch -> qLive = true
      :: else
      fi }
  /* It is the primary by its own claim, or because the primary has handed over. */
  :: d_step { H[h].role == CLAIMING && rEpoch > H[h].epoch && rPrimary == h && rPrimaryInc == H[h].inc -> goLive(h) }
  :: d_step { H[h].role == CLAIMING && rEpoch > H[h].epoch && !(rPrimary == h && rPrimaryInc == H[h].inc) -> die(h) }

  /* The primary. */
  :: d_step { H[h].role == PRIMARY && H[h].received < RECORDS && !H[h].stopped && H[h].change != HAND ->
      H[h].received++; H[h].exec = H[h].received; H[h].tag[H[h].received] = 1 + h + HOSTS * H[h].inc; flush(h) }
  :: d_step { H[h].role == PRIMARY && isAcked(h) && followerOf(h).ackReceived > H[h].acked ->
      H[h].acked = followerOf(h).ackReceived; flush(h) }
  :: d_step { H[h].role == PRIMARY && H[h].state == GATING && isAcked(h) &&
      followerOf(h).ackExec >= H[h].gateFrom - 1 -> H[h].state = READY }
  :: d_step { H[h].role == PRIMARY && H[h].follower != NONE && rEpoch < EPOCHS && mayDoubt(isBereft(h)) ->
      doubt(isBereft(h)); loseFollower(h) }
  /* From record gateFrom on outputs wait for the joining copy. (P44) */
  :: d_step { H[h].role == PRIMARY && H[h].follower != NONE && H[h].state == TRANSFER ->
      H[h].state = GATING; H[h].gateFrom = H[h].received + 1;
#ifdef BUG_JOINER_INCOMPLETE
      H[h].state = READY;
#endif
      flush(h) }
  :: d_step { H[h].role == PRIMARY && H[h].state == READY && H[h].change == NO && rEpoch < EPOCHS ->
      propose(h, ADD); flush(h) }
#ifdef HANDOVER
  :: d_step { H[h].role == PRIMARY && H[h].state == FOLLOWS && H[h].change == NO && !H[h].stopped && rEpoch < EPOCHS ->
      H[h].stopped = true }
  :: d_step { H[h].role == PRIMARY && H[h].stopped && H[h].change == NO && isAcked(h) &&
      followerOf(h).ackExec == H[h].received -> propose(h, HAND) }
#endif

  /* What becomes of its change. The answer that it is won may come when it is old. (P9) */
  :: d_step { H[h].role == PRIMARY && H[h].change == DROP && rEpoch == H[h].epoch + 1 &&
      rPrimary == h && rPrimaryInc == H[h].inc && rBackup == NONE ->
      H[h].epoch++; H[h].change = NO; H[h].named = false; flush(h) }
  :: d_step { H[h].role == PRIMARY && H[h].change == ADD && !H[h].told && rEpoch == H[h].epoch + 1 &&
      rPrimary == h && rPrimaryInc == H[h].inc && rBackup != NONE -> H[h].told = true }
  :: d_step { H[h].role == PRIMARY && H[h].told ->
      H[h].told = false; H[h].epoch++; H[h].change = NO; H[h].named = true;
      if
      :: H[h].follower != NONE -> H[h].state = FOLLOWS; H[h].gateFrom = 0; flush(h)
      :: else -> propose(h, DROP)
      fi }
  :: d_step { H[h].role == PRIMARY && H[h].change != NO && !H[h].told && rEpoch > H[h].epoch &&
      !(rEpoch == H[h].epoch + 1 && H[h].change != HAND && rPrimary == h && rPrimaryInc == H[h].inc) -> die(h) }
#ifdef BUG_ABANDONED_CHANGE
  :: d_step { H[h].role == PRIMARY && H[h].change == ADD && H[h].follower == NONE -> H[h].change = NO; flush(h) }
#endif
#ifdef BUG_UNKNOWN_LOST
  :: d_step { H[h].role == PRIMARY && H[h].change == DROP -> H[h].change = NO; flush(h) }
#endif
  od
}

#define isRunning(p) (H[p].role == PRIMARY && H[p].inc == rPrimaryInc && H[p].epoch == rEpoch && H[p].change == NO)
#define isFollowing(b) (H[b].role == BACKUP && H[b].inc == rBackupInc)
#define isBuried(h) (H[h].role == DOWN && H[h].inc == INCARNATIONS)

/*
 * Where nothing can happen any more, all is well: without faults the machine is protected and everything has left; with
 * them it runs, unless a host is down for good or the model has run out of configurations.
 */
active proctype Watch() {
end:
  do
  :: timeout ->
#ifdef FAULTLESS
    assert(isRunning(rPrimary) && rBackup != NONE && isFollowing(rBackup) && relLen == RECORDS);
#else
    assert(isRunning(rPrimary) || isBuried(0) || isBuried(1) || isBuried(2) || rEpoch >= EPOCHS);
#endif
    break
  od
}

init {
  byte h;
  d_step {
    h = 0;
    do
    :: h < HOSTS ->
      H[h].role = STARTING; H[h].inc = 1; H[h].follower = NONE; H[h].state = TRANSFER; H[h].change = NO; h++
    :: else -> break
    od;
    H[0].role = PRIMARY; H[0].disk = true; H[0].epoch = 1; H[0].life = 1;
#ifdef PAIR
    /* A and B are a pair already. */
    rBackup = 1; rBackupInc = 1;
    H[0].named = true; H[0].follower = 1; H[0].followerInc = 1; H[0].state = FOLLOWS;
    H[1].role = BACKUP; H[1].disk = true; H[1].epoch = 1; H[1].life = 1; H[1].source = 0; H[1].sourceInc = 1;
#endif
    h = 0
  }
  run Process(0); run Process(1); run Process(2)
}
