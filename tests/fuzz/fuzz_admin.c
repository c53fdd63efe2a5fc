/*
 * Any bytes as a frame of the admin protocol: requests are looked at as handlers
 * do, replies are taken, merged and shown as isthmusd and the CLI do.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "admin/cli.h"
#include "runtime/admin_impl.h"
#include "runtime/bytes.h"
#include "runtime/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int cli_call(struct cli *c, const char *verb, bool quiet, Isthmus__AdminReply **ret)
{
	return EXIT_NO_DAEMON;
}

static struct admin_call *empty_call(void)
{
	Isthmus__AdminFrame *f = malloc(sizeof(*f));
	Isthmus__AdminRequest *r = malloc(sizeof(*r));
	ASSERT(f && r);
	isthmus__admin_frame__init(f);
	isthmus__admin_request__init(r);
	f->body_case = ISTHMUS__ADMIN_FRAME__BODY_REQUEST;
	f->request = r;
	return admin_call_new(f);
}

static void use_request(Isthmus__AdminFrame *f)
{
	static const char *const names[] = {"size", "name", "count", ""};
	struct admin_call *c = admin_call_new(f);
	uint64_t v;
	admin_table(c, admin_call_verb(c), false);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *s;
		admin_arg_size(c, names[i], &v);
		admin_arg_u64(c, names[i], &v);
		admin_arg_flag(c, names[i]);
		for (unsigned k = 0; (s = admin_arg_list(c, names[i], k)); k++) {
			admin_row(c);
			admin_put_text(c, "value", "%s", s);
		}
	}
	admin_call_finish(c, -22);
	cli_show(stdout, &c->reply);
	admin_call_free(c);
}

static void show(const Isthmus__AdminReply *r)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	cli_show(f, r);
	fclose(f);
	free(text);
	json_t *j = cli_json(r);
	text = json_dumps(j, JSON_COMPACT);
	free(text);
	json_decref(j);
}

static void use_reply(Isthmus__AdminFrame *f)
{
	struct admin_call *c = empty_call();
	show(f->reply);
	admin_table(c, "volumes", false);
	admin_row(c);
	admin_put_number(c, "n", 1);
	Isthmus__AdminReply *r = f->reply;
	f->reply = NULL;
	f->body_case = ISTHMUS__ADMIN_FRAME__BODY__NOT_SET;
	isthmus__admin_frame__free_unpacked(f, NULL);
	int rc = admin_reply_take(c, r);
	for (size_t i = 0; i < c->reply.n_tables && i < 4; i++) {
		admin_table(c, c->reply.tables[i]->name, false);
		admin_row(c);
		admin_put_bytes(c, "more", 5);
	}
	admin_note(c, "one more");
	admin_call_finish(c, rc);
	show(&c->reply);
	admin_call_free(c);
}

static void use_bytes(const uint8_t *data, size_t size)
{
	Isthmus__AdminFrame *f;
	size_t used;
	if (admin_frame_decode(data, size, ADMIN_REQUEST_MAX, &f, &used))
		return;
	ASSERT(used <= size);
	if (f->body_case == ISTHMUS__ADMIN_FRAME__BODY_REQUEST && f->request)
		use_request(f);
	else if (f->body_case == ISTHMUS__ADMIN_FRAME__BODY_REPLY && f->reply)
		use_reply(f);
	else
		isthmus__admin_frame__free_unpacked(f, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *null;
	if (!null)
		null = freopen("/dev/null", "w", stdout);
	use_bytes(data, size);
	/* And with a header that fits, so that the body is reached. */
	uint8_t *buf = malloc(size + 6);
	be32_put(buf, (uint32_t)size + 2);
	buf[4] = 0x08; /* version = ADMIN_VERSION */
	buf[5] = ADMIN_VERSION;
	memcpy(buf + 6, data, size);
	use_bytes(buf, size + 6);
	free(buf);
	return 0;
}
