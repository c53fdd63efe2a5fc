/* Clients in processes of their own (nfs3_fleet.h). */
#include "tests/tools/nfs3_fleet.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double fleet_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint32_t fleet_dice(struct fleet_client *k, uint32_t n)
{
	k->seed = k->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(k->seed >> 33) % n;
}

void fleet_bad(struct fleet_client *k, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "client %d: ", k->id);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	k->bad++;
}

static void give_up(const struct fleet_client *k, const char *what)
{
	fprintf(stderr, "client %d: %s for %.0f s\n", k->id, what, FLEET_PATIENCE);
	_exit(1);
}

static void connect_again(struct fleet_client *k, double asked)
{
	nc_close(k->c);
	while (!(k->c = nc_open(k->server, k->port, NULL, false))) {
		if (fleet_now() - asked > FLEET_PATIENCE)
			give_up(k, "no connection");
		usleep(20000);
	}
}

bool fleet_again(struct fleet_client *k, double asked)
{
	double took = fleet_now() - asked;
	bool later = k->c->res.rpc == NC_OK && k->c->res.status == NFS3ERR_JUKEBOX;
	if (k->c->res.rpc != NC_LOST && !later) {
		if (took > k->longest)
			k->longest = took;
		if (k->c->res.rpc == NC_REFUSED)
			fleet_bad(k, "a call was refused by RPC");
		k->calls++;
		return false;
	}
	if (took > FLEET_PATIENCE)
		give_up(k, "no answer");
	k->retried = true;
	k->retries++;
	if (later)
		usleep(20000);
	else
		connect_again(k, asked);
	return true;
}

void fleet_open(struct fleet_client *k, int id, const char *server, int port, const char *path)
{
	const struct nc_res *r;
	*k = (struct fleet_client){.id = id, .server = server, .port = port};
	k->seed = (uint64_t)id * 7919 + 17;
	connect_again(k, fleet_now());
	ANSWERED(k, r, nc_mnt(k->c, path));
	if (r->status != MNT3_OK) {
		fprintf(stderr, "client %d: cannot mount %s: %d\n", id, path, r->status);
		_exit(1);
	}
	k->top = r->fh;
}

void fleet_close(struct fleet_client *k)
{
	nc_close(k->c);
	k->c = NULL;
}

unsigned fleet_run(int n, bool (*fn)(int id, void *arg), void *arg)
{
	unsigned failed = (unsigned)n;
	int status;
	fflush(NULL);
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid < 0) {
			perror("fork");
			exit(1);
		}
		if (pid == 0) {
			bool ok = fn(i, arg);
			fflush(NULL);
			_exit(!ok);
		}
	}
	while (wait(&status) > 0)
		failed -= status == 0;
	return failed;
}

void *fleet_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}
