/*
 * Questions 1, 2, 3, 5 and 6, each by an experiment that prints what happened:
 * who copies requests, what a held request's fate is when its backend dies, how
 * another process waits on the ring, what the keeper's death does, and by which
 * way FORGET, INTERRUPT and notifications go.
 *
 * Nothing here is assumed to go well: what hangs is reported after five seconds,
 * and aborted with its mount. The exit status says only whether the experiments
 * could be made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scene.h"

/* ---- 1: which task copies ---------------------------------------------------- */

/* The threads of `pid` that ran more than `least` times since the last call for it, by name. */
static void print_runs(pid_t pid, const char *who, unsigned int least, bool print)
{
	static unsigned long long before[1 << 16];
	char path[64];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		unsigned long long ns, waited, runs;
		char file[400], name[32] = "";
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s/schedstat", path, d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(file, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu %llu %llu", &ns, &waited, &runs) != 3)
			runs = 0;
		fclose(f);
		snprintf(file, sizeof(file), "%s/%s/comm", path, d->d_name);
		f = fopen(file, "re");
		if (f && !fgets(name, sizeof(name), f))
			name[0] = '\0';
		if (f)
			fclose(f);
		name[strcspn(name, "\n")] = '\0';
		if (print && runs - before[atoi(d->d_name) & 0xffff] > least)
			printf("  %s's thread %s ran %llu times\n", who, name, runs - before[atoi(d->d_name) & 0xffff]);
		before[atoi(d->d_name) & 0xffff] = runs;
	}
	if (dir)
		closedir(dir);
}

static void fact_who_copies(enum lane_owner owner)
{
	struct scene s;
	struct stat st;
	char path[96];

	printf("1. %s: who runs during 1000 stats\n", scene_owner(owner));
	scene_open(&s, owner, false);
	keeper_allow(&s.lane, 1);
	snprintf(path, sizeof(path), "%s/f1", s.mount.dir);
	if (stat(path, &st) < 0)
		perror(path);
	print_runs(s.keeper, "", 0, false);
	print_runs(s.lane.shared->backend, "", 0, false);
	for (int i = 0; i < 1000; i++)
		if (stat(path, &st) < 0)
			perror(path);
	print_runs(s.keeper, "keeper", 50, true);
	print_runs(s.lane.shared->backend, "backend", 50, true);
	scene_close(&s);
}

static void fact_whose_memory(enum lane_owner owner)
{
	struct scene s;

	printf("1. %s: the keeper has made its own mapping of the slots unreadable, the backend has not\n",
	       scene_owner(owner));
	scene_open(&s, owner, true);
	keeper_allow(&s.lane, 1);
	scene_probe(&s, 2);
	scene_report(&s, 0, "requests");
	scene_close(&s);
}

/* ---- 2: held requests -------------------------------------------------------- */

static void fact_held(enum lane_owner owner)
{
	struct scene s;

	printf("2. %s: 8 requests are taken and not answered, the backend is killed, 40 more are made, "
	       "another backend is started\n",
	       scene_owner(owner));
	scene_open(&s, owner, false);
	s.lane.shared->hold = true;
	keeper_allow(&s.lane, 1);
	scene_probe(&s, 8);
	if (!keeper_await(&s.lane.shared->taken, 8, PATIENCE))
		printf("  only %llu were taken\n", (unsigned long long)s.lane.shared->taken);
	keeper_kill_backend(&s.lane);
	scene_probe(&s, 40);
	s.lane.shared->hold = false;
	keeper_allow(&s.lane, 1);
	scene_report(&s, 8, "made while there was no backend");
	scene_report(&s, 0, "those that were taken");
	scene_close(&s);
}

/* ---- 3: waiting on another's ring --------------------------------------------- */

static int send_descriptor(int fd)
{
	int pair[2], err = 0;
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return errno;
	if (sendmsg(pair[0], &msg, 0) < 0)
		err = errno;
	close(pair[0]);
	close(pair[1]);
	return err;
}

/* Another opcode than FUSE's, through the keeper's ring: what comes back. */
static int submit_nop(const struct lane *l, int fd)
{
	struct ring r;
	unsigned int tail;
	int res = ring_map(&r, fd, &l->shared->queue[0].params);

	if (res)
		return res;
	tail = ring_load(r.cq_tail);
	memset(&r.sqes[*r.sq_tail & r.sq_mask], 0, sizeof(struct ring_sqe));
	r.sqes[*r.sq_tail & r.sq_mask].sqe.opcode = IORING_OP_NOP;
	ring_store(r.sq_tail, *r.sq_tail + 1);
	ring_enter(&r, 0, 1, IORING_ENTER_SQ_WAKEUP | IORING_ENTER_GETEVENTS);
	res = r.cqes[tail & r.cq_mask].res;
	ring_store(r.cq_head, tail + 1);
	ring_unmap(&r);
	return res;
}

static void fact_waiting(void)
{
	struct pollfd poll_for = {.events = POLLIN};
	struct scene s;
	struct ring r;
	int pidfd, n;

	printf("3. sqpoll: a third process and the keeper's ring\n");
	scene_open(&s, LANE_SQPOLL, false);
	while (!__atomic_load_n(&s.lane.shared->queue[s.lane.queues - 1].owned, __ATOMIC_ACQUIRE))
		usleep(1000);
	pidfd = syscall(SYS_pidfd_open, s.keeper, 0);
	poll_for.fd = syscall(SYS_pidfd_getfd, pidfd, s.lane.shared->queue[0].ring_fd, 0);
	printf("  pidfd_getfd: %s\n", poll_for.fd < 0 ? strerror(errno) : "the descriptor");
	printf("  SCM_RIGHTS: %s\n", strerror(send_descriptor(poll_for.fd)));
	printf("  a NOP in the keeper's name: %s\n", strerror(-submit_nop(&s.lane, poll_for.fd)));
	/* on processor 0, so that the request goes to queue 0; no backend is there to take it */
	n = fork();
	if (n == 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(0, &set);
		sched_setaffinity(0, sizeof(set), &set);
		_exit(scene_probe_main(&s, 0));
	}
	s.probe[s.probes++] = n;
	n = poll(&poll_for, 1, PATIENCE * 1000);
	printf("  poll(2) on it %s\n", n == 1 ? "woke for the request" : "did not wake");
	ring_map(&r, poll_for.fd, &s.lane.shared->queue[0].params);
	n = ring_enter(&r, 0, 1, IORING_ENTER_GETEVENTS);
	printf("  io_uring_enter(2) on it: %s, %u CQE\n", n < 0 ? strerror(-n) : "returned",
	       ring_load(r.cq_tail) - *r.cq_head);
	ring_unmap(&r);
	keeper_allow(&s.lane, 1);
	scene_report(&s, 0, "the request, when a backend came");
	close(poll_for.fd);
	close(pidfd);
	scene_close(&s);
}

/* ---- 5: the keeper's death ----------------------------------------------------- */

/* How many requests /dev/fuse has to read after a RESEND. */
static unsigned int count_resent(struct scene *s)
{
	static char buf[TINYFS_MAX_IO + 4096];
	const struct fuse_in_header *in = (const void *)buf;
	int flags = fcntl(s->mount.fd, F_GETFL);
	unsigned int n = 0;

	fcntl(s->mount.fd, F_SETFL, flags | O_NONBLOCK);
	while (read(s->mount.fd, buf, sizeof(buf)) > 0)
		n += in->opcode != FUSE_FORGET && in->opcode != FUSE_INTERRUPT;
	fcntl(s->mount.fd, F_SETFL, flags);
	return n;
}

static void fact_keeper_death(enum lane_owner owner, bool busy)
{
	struct scene s;
	int err;

	printf("5. %s: the keeper is killed %s\n", scene_owner(owner),
	       busy ? "with 8 requests taken, and 8 more are made" : "with 8 requests taken");
	scene_open(&s, owner, false);
	/* the next keeper has the memory where this one has it: as it came by fork */
	s.lane.shared->hold = true;
	keeper_allow(&s.lane, 1);
	scene_probe(&s, 8);
	keeper_await(&s.lane.shared->taken, 8, PATIENCE);
	keeper_stop(&s.lane, s.keeper);
	if (busy)
		scene_probe(&s, 8);
	err = mount_resend(&s.mount);
	printf("  RESEND: %s, %u requests come again\n", strerror(-err), count_resent(&s));
	s.lane.shared->hold = false;
	s.keeper = keeper_start(&s.lane);
	keeper_allow(&s.lane, 1);
	scene_report(&s, 0, "the requests, with the next keeper");
	scene_close(&s);
}

/* ---- 6: what does not go over the ring ------------------------------------------ */

static void fact_others(void)
{
	struct scene s;
	struct stat st;
	char path[96];
	uint64_t held = 0;
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out body;
	} notify = {{sizeof(notify), FUSE_NOTIFY_INVAL_INODE, 0}, {FUSE_ROOT_ID, -1, 0}};

	printf("6. sqpoll: FORGET, INTERRUPT and notifications\n");
	scene_open(&s, LANE_SQPOLL, false);
	keeper_allow(&s.lane, 1);
	snprintf(path, sizeof(path), "%s/flip", s.mount.dir);
	for (int i = 0; i < 3; i++)
		if (stat(path, &st) < 0)
			perror(path);
	printf("  FORGET %s /dev/fuse\n",
	       keeper_await(&s.lane.shared->forgets, 1, PATIENCE) ? "comes by" : "does not come by");
	s.lane.shared->hold = true;
	held = s.lane.shared->taken;
	scene_probe(&s, 1);
	keeper_await(&s.lane.shared->taken, held + 1, PATIENCE);
	kill(s.probe[0], SIGUSR1);
	printf("  INTERRUPT %s /dev/fuse",
	       keeper_await(&s.lane.shared->interrupts, 1, PATIENCE) ? "comes by" : "does not come by");
	held = 0;
	for (unsigned int q = 0; q < s.lane.queues; q++)
		for (unsigned int e = 0; e < LANE_DEPTH; e++)
			held += s.lane.shared->queue[q].entry[e].taken == s.lane.shared->interrupted;
	printf(", for %s\n", held ? "a request that came by the ring" : "no request that we know");
	printf("  a notification by /dev/fuse: %s\n",
	       write(s.mount.fd, &notify, sizeof(notify)) < 0 ? strerror(errno) : "accepted");
	s.lane.shared->hold = false;
	keeper_kill_backend(&s.lane);
	keeper_allow(&s.lane, 1);
	scene_report(&s, 0, "the interrupted request, answered by the next backend");
	printf("  other opcodes by /dev/fuse: %llu\n", (unsigned long long)s.lane.shared->others);
	scene_close(&s);
}

static void fact_killable(enum lane_owner owner)
{
	struct scene s;

	printf("6. %s: 2 requests are taken, the backend is killed, and then those who wait are killed\n",
	       scene_owner(owner));
	scene_open(&s, owner, false);
	s.lane.shared->hold = true;
	keeper_allow(&s.lane, 1);
	scene_probe(&s, 2);
	keeper_await(&s.lane.shared->taken, 2, PATIENCE);
	keeper_kill_backend(&s.lane);
	for (unsigned int i = 0; i < s.probes; i++)
		kill(s.probe[i], SIGKILL);
	scene_report(&s, 0, "those who wait, before there is another backend");
	printf("  the keeper answered EINTR: %llu\n", (unsigned long long)s.lane.shared->given_up);
	s.lane.shared->hold = false;
	keeper_allow(&s.lane, 1);
	scene_probe(&s, 8);
	scene_report(&s, 2, "requests after that, with another backend");
	printf("  commits that the kernel refused: %llu\n", (unsigned long long)s.lane.shared->refused);
	scene_close(&s);
}

int main(void)
{
	const char *lacks = mount_lacks();

	if (lacks) {
		fprintf(stderr, "skipped: no %s\n", lacks);
		return 77;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	fact_who_copies(LANE_BACKEND);
	fact_who_copies(LANE_SQPOLL);
	fact_who_copies(LANE_PUMP);
	fact_who_copies(LANE_SEALED);
	fact_whose_memory(LANE_SQPOLL);
	fact_whose_memory(LANE_PUMP);
	fact_held(LANE_SQPOLL);
	fact_held(LANE_PUMP);
	fact_held(LANE_SEALED);
	fact_held(LANE_BACKEND);
	fact_waiting();
	fact_keeper_death(LANE_SQPOLL, false);
	fact_keeper_death(LANE_SQPOLL, true);
	fact_others();
	fact_killable(LANE_SQPOLL);
	fact_killable(LANE_PUMP);
	fact_killable(LANE_SEALED);
	return 0;
}
