/*
 * Bytes of a service's region on a PIV volume: whatever they are, its state is read or refused, and
 * a ledger opens or not and can be written then. Input: flags u8, { block u8, offset u16, length
 * u8, bytes }* changes a well-formed region, block 0 and 1 of which are its claim. Flags: 1:
 * checksums of changed frames are made right, so that what lies behind them is reached; 2: there is
 * a backup with an older state; 4: what cannot be read is given up.
 */
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define VOLUME (4u << 20)
#define FIX    1
#define BACKUP 2
#define ANEW   4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sim *sim;
static struct sim_disk *disks[2];
static struct bdev *volumes[2];
static uint8_t *good[2];
static uint64_t region;
static unsigned flags;

static int count(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	ASSERT(klen >= 1 && klen <= LEDGER_KEY_MAX && vlen <= LEDGER_VALUE_MAX);
	return 0;
}

static struct ledger *open_as(const char *service, bool backup)
{
	struct ledger_opts o = {.env = sim_env(sim),
				.main = volumes[0],
				.backup = backup ? volumes[1] : NULL,
				.service = service,
				.anew = flags & ANEW,
				.load = count};
	struct ledger *l;
	return ledger_open(&l, &o) ? NULL : l;
}

static void write_some(struct ledger *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char value[64] = "value";
		ASSERT(ledger_put(l, &i, sizeof(i), value, i % sizeof(value)) == 0);
		if (i % 3 == 2)
			ledger_drop(l, &(unsigned){i - 1}, sizeof(i));
		ASSERT(ledger_sync(l) == 0);
	}
}

static void make_task(void *arg)
{
	struct piv_header h;
	for (unsigned i = 0; i < 2; i++)
		ASSERT(piv_format(volumes[i], 0, &h) == 0);
	struct ledger *l = open_as("s", true);
	ledger_set_continuous(l, true);
	write_some(l, 4);
	ledger_set_continuous(l, false);
	write_some(l, 9);
	region = l->rings[0].off - PIV_REGION_CLAIMS * PIV_BLOCK;
	ledger_abandon(l);
}

static void service(void *arg, const char *name)
{
	ASSERT(strlen(name) <= PIV_NAME_MAX);
}

static void use_task(void *arg)
{
	struct bdev *backup = flags & BACKUP ? volumes[1] : NULL;
	ledger_each(volumes[0], backup, "s", count, NULL, NULL);
	ledger_services(volumes[0], backup, service, NULL);
	struct ledger *l = open_as("s", backup);
	if (!l)
		return;
	for (unsigned i = 0; i < 4; i++)
		if (ledger_put(l, &i, sizeof(i), "new", 3) == 0)
			ASSERT(ledger_sync(l) == 0);
	ASSERT(ledger_close(l) == 0);
	l = open_as("s", backup);
	ASSERT(l);
	ledger_abandon(l);
}

static void fix_checksum(uint8_t *b, size_t room)
{
	if (le32_get(b) == PIV_CLAIM_MAGIC)
		le32_put(b + 80, crc32c(b, 80));
	uint32_t len = le32_get(b + 48);
	if (le32_get(b) != LEDGER_FRAME_MAGIC || len < LEDGER_FRAME_HEAD || len > room)
		return;
	uint32_t c = crc32c_add(CRC32C_INIT, b, 60);
	le32_put(b + 60, crc32c_end(crc32c_add(c, b + LEDGER_FRAME_HEAD, len - LEDGER_FRAME_HEAD)));
}

static void begin(void)
{
	log_set_level(LOG_L_ERROR + 1);
	sim = sim_new(1);
	for (unsigned i = 0; i < 2; i++) {
		disks[i] = sim_disk_new(sim, i ? "backup" : "main", VOLUME);
		volumes[i] = sim_disk_open(disks[i]);
	}
	ASSERT(sim_run(sim, make_task, NULL) == 0);
	for (unsigned i = 0; i < 2; i++) {
		good[i] = malloc(VOLUME);
		memcpy(good[i], sim_disk_bytes(disks[i]), VOLUME);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!sim)
		begin();
	for (unsigned i = 0; i < 2; i++)
		memcpy(sim_disk_bytes(disks[i]), good[i], VOLUME);
	flags = size ? data[0] : 0;
	if (size)
		data++, size--;
	while (size >= 4) {
		uint64_t at = region + (uint64_t)data[0] * PIV_BLOCK;
		uint8_t *block = sim_disk_bytes(disks[0]) + at;
		size_t off = (size_t)(data[1] | data[2] << 8) % PIV_BLOCK;
		size_t n = MIN((size_t)data[3], MIN(size - 4, PIV_BLOCK - off));
		memcpy(block + off, data + 4, n);
		if (flags & FIX)
			fix_checksum(block, VOLUME - at);
		data += 4 + n;
		size -= 4 + n;
	}
	for (unsigned i = 0; i < 2; i++)
		sim_disk_bytes_changed(disks[i], 0, VOLUME);
	ASSERT(sim_run(sim, use_task, NULL) == 0);
	return 0;
}
