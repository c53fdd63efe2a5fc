/*
 * nfs3_weave SERVER PORT EXPORT SECONDS [CLIENTS]: processes that write into the same blocks of one
 * file at once. The file is woven of pieces of PIECE bytes, each client's in turn; nobody's write
 * may take anything from a neighbour's, stable or not, over crashes of the server too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_fleet.h"

#define CLIENTS 16
#define PIECE	100
#define PIECES	400 /* a client's */

struct counts {
	_Atomic unsigned long written, checked, retries;
};

static struct counts *counts;
static const char *server, *path;
static int port, clients;
static double seconds;

static void fill(uint8_t *to, int client, uint32_t piece, uint32_t version)
{
	uint32_t seed = (uint32_t)client * 2654435761u ^ piece * 40503u ^ version * 2246822519u;
	for (int i = 0; i < PIECE; i++) {
		seed = seed * 1664525 + 1013904223;
		to[i] = version ? (uint8_t)(seed >> 24) : 0;
	}
}

static uint64_t place(int client, uint32_t piece)
{
	return ((uint64_t)piece * (uint64_t)clients + (uint64_t)client) * PIECE;
}

static void check(struct fleet_client *k, const struct nc_fh *f, uint32_t piece, uint32_t version)
{
	uint8_t want[PIECE], got[PIECE] = {0};
	const struct nc_res *r;
	fill(want, k->id, piece, version);
	ANSWERED(k, r, nc_read(k->c, f, place(k->id, piece), PIECE));
	if (r->status || r->count > PIECE) {
		fleet_bad(k, "READ of piece %u: %d", piece, r->status);
		return;
	}
	memcpy(got, k->c->data, r->count); /* behind the end there are no bytes, as in a hole */
	if (memcmp(want, got, PIECE))
		fleet_bad(k, "piece %u is not version %u", piece, version);
	counts->checked++;
}

static void write_piece(struct fleet_client *k, const struct nc_fh *f, uint32_t piece,
			uint32_t version)
{
	uint8_t buf[PIECE];
	const struct nc_res *r;
	stable_how how = fleet_dice(k, 8) ? UNSTABLE : FILE_SYNC;
	fill(buf, k->id, piece, version);
	ANSWERED(k, r, nc_write(k->c, f, place(k->id, piece), buf, PIECE, how));
	if (r->status || r->count != PIECE)
		fleet_bad(k, "WRITE of piece %u: %d, %u bytes", piece, r->status, r->count);
	counts->written++;
}

static bool client(int id, void *arg)
{
	static uint32_t versions[PIECES];
	struct fleet_client k;
	const struct nc_res *r;
	sattr3 mode = sa_mode(0644);
	fleet_open(&k, id, server, port, path);
	ANSWERED(&k, r, nc_create(k.c, &k.top, "woven", UNCHECKED, &mode));
	if (r->status) {
		fleet_bad(&k, "CREATE: %d", r->status);
		return false;
	}
	struct nc_fh f = r->fh;
	for (double until = fleet_now() + seconds; fleet_now() < until && k.bad < 10;) {
		uint32_t piece = fleet_dice(&k, PIECES);
		if (fleet_dice(&k, 3))
			write_piece(&k, &f, piece, ++versions[piece]);
		else
			check(&k, &f, piece, versions[piece]);
	}
	for (uint32_t piece = 0; piece < PIECES && k.bad < 10; piece++)
		check(&k, &f, piece, versions[piece]);
	counts->retries += k.retries;
	fleet_close(&k);
	return !k.bad;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: nfs3_weave SERVER PORT EXPORT SECONDS [CLIENTS]\n");
		return 2;
	}
	server = argv[1];
	port = atoi(argv[2]);
	path = argv[3];
	seconds = atof(argv[4]);
	clients = argc > 5 ? atoi(argv[5]) : 4;
	if (clients < 1 || clients > CLIENTS)
		return 2;
	counts = fleet_shared(sizeof(*counts));
	struct fleet_client k;
	const struct nc_res *r;
	fleet_open(&k, -1, server, port, path);
	ANSWERED(&k, r, nc_remove(k.c, &k.top, "woven"));
	if (r->status && r->status != NFS3ERR_NOENT) {
		fprintf(stderr, "nfs3_weave: REMOVE: %d\n", r->status);
		return 1;
	}
	fleet_close(&k);
	unsigned failed = fleet_run(clients, client, NULL);
	printf("woven by %d: %lu pieces written, %lu checked, %lu calls sent again; %u failures\n",
	       clients, counts->written, counts->checked, counts->retries, failed);
	return failed || !counts->written;
}
