/*
 * Bytes of a PIV volume: whatever they are, the state of the group is read or refused, and a head
 * opens its slot or goes without. Input: { block u8, offset u16, length u8, bytes }* changes a
 * well-formed volume; with the first byte odd, checksums of the changed blocks are made right, so
 * that what lies behind them is reached.
 */
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define VOLUME (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sim *sim;
static struct sim_disk *disk;
static struct bdev *bdev;
static uint8_t *good;

static int open_head(const char *name, struct piv **ret)
{
	struct piv_opts o = {.env = sim_env(sim), .main = bdev, .head = name, .instance = 3};
	return piv_open(ret, &o);
}

static void make_task(void *arg)
{
	struct piv *p;
	ASSERT(open_head("h1", &p) == 0);
	piv_serves(p, "fs", "/export", false);
	piv_client_seen(p, "192.0.2.7", "/export");
	ASSERT(piv_sync(p) == 0 && piv_tick(p) == 0);
	piv_abandon(p);
}

static void use_task(void *arg)
{
	struct piv_state *s;
	struct piv *p;
	if (piv_state_read(bdev, NULL, &s) == 0)
		piv_state_free(s);
	if (open_head("h1", &p) == 0) {
		piv_tick(p);
		piv_close(p);
	}
	if (open_head("h2", &p) == 0)
		piv_close(p);
}

static void fix_checksum(uint8_t *b)
{
	switch (le32_get(b)) {
	case PIV_HEADER_MAGIC:
		le32_put(b + 24, crc32c(b, 24));
		break;
	case PIV_CLAIM_MAGIC:
		le32_put(b + 80, crc32c(b, 80));
		break;
	case PIV_FRAME_MAGIC: {
		uint32_t len = MIN(le32_get(b + 4), (uint32_t)(PIV_BLOCK - PIV_FRAME_HEAD));
		uint32_t c = crc32c_add(CRC32C_INIT, b, 16);
		le32_put(b + 16, crc32c_end(crc32c_add(c, b + PIV_FRAME_HEAD, len)));
		break;
	}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!sim) {
		log_set_level(LOG_L_ERROR + 1);
		sim = sim_new(1);
		disk = sim_disk_new(sim, "piv", VOLUME);
		bdev = sim_disk_open(disk);
		ASSERT(sim_run(sim, make_task, NULL) == 0);
		good = malloc(VOLUME);
		memcpy(good, sim_disk_bytes(disk), VOLUME);
	}
	uint8_t *bytes = sim_disk_bytes(disk);
	memcpy(bytes, good, VOLUME);
	bool fix = size && (data[0] & 1);
	if (size)
		data++, size--;
	while (size >= 4) {
		uint8_t *block = bytes + (size_t)data[0] * PIV_BLOCK;
		size_t off = (size_t)(data[1] | data[2] << 8) % PIV_BLOCK;
		size_t n = MIN((size_t)data[3], MIN(size - 4, PIV_BLOCK - off));
		memcpy(block + off, data + 4, n);
		if (fix)
			fix_checksum(block);
		data += 4 + n;
		size -= 4 + n;
	}
	sim_disk_bytes_changed(disk, 0, VOLUME);
	ASSERT(sim_run(sim, use_task, NULL) == 0);
	return 0;
}
