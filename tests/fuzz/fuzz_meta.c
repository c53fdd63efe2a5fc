/* Array metadata: slot headers, messages, and client rules of exports. */
#include "blockcore/control/meta_slot.h"
#include "blockcore/control/meta_store.h"
#include "blockcore/export_rule.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void header(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[16];
	uint8_t hdr[META_HEADER_SIZE] = {0};
	struct meta_slot s;
	memcpy(hdr, data, MIN(size, sizeof(hdr)));
	meta_slot_decode(hdr, uuid, &s);
	memcpy(hdr, "ISTHMETA", 8);
	le32_put(hdr + 8, 0);
	le32_put(hdr + 8, crc32c(hdr, sizeof(hdr)));
	meta_slot_decode(hdr, uuid, &s);
	ASSERT(s.verdict != SLOT_OK || s.length <= META_PAYLOAD_MAX);
}

static void message(const uint8_t *data, size_t size)
{
	char why[META_WHY_LEN];
	Isthmus__ArrayMeta *am;
	if (meta_decode(data, size, &am, why) == 0)
		isthmus__array_meta__free_unpacked(am, NULL);
}

static void rule(const uint8_t *data, size_t size)
{
	char why[256], shown[512], *text = malloc(size + 1);
	Isthmus__ExportClient *c, *again;
	memcpy(text, data, size);
	text[size] = '\0';
	if (export_rule_parse(text, &c, why) == 0) {
		export_rule_format(c, shown, sizeof(shown));
		ASSERT(export_rule_parse(shown, &again, why) == 0);
		ASSERT(strcmp(c->match, again->match) == 0 && c->anon_uid == again->anon_uid);
		ASSERT(strcmp(c->sec, again->sec) == 0);
		isthmus__export_client__free_unpacked(again, NULL);
		isthmus__export_client__free_unpacked(c, NULL);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	header(data, size);
	message(data, size);
	rule(data, size);
	return 0;
}
