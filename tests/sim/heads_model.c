/*
 * What clients hold for certain: from the answer that grants it on, until they ask to give it up.
 * Two of them never hold for certain what excludes the other. Values of units are written by who
 * has the unit alone, and read by who has it: the reads are those of one memory.
 */
#include <inttypes.h>
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "tests/sim/heads.h"

static unsigned bit(const struct client *c)
{
	return 1u << c->number;
}

void model_granted(struct client *c, unsigned f, unsigned first, unsigned count, bool alone)
{
	struct model *m = &c->w->model;
	heads_say(c->w, "%s has %u+%u of file %u%s", c->name, first, count, f,
		  alone ? " alone" : "");
	for (unsigned u = first; u < first + count; u++) {
		unsigned others = (m->alone[f][u] | (alone ? m->shared[f][u] : 0)) & ~bit(c);
		if (others)
			heads_fail(c->w, "%s is given unit %u of file %u, which %#x have%s",
				   c->name, u, f, others, alone ? "" : " alone");
		m->alone[f][u] &= ~bit(c);
		m->shared[f][u] &= ~bit(c);
		*(alone ? &m->alone[f][u] : &m->shared[f][u]) |= bit(c);
	}
}

void model_sharing(struct client *c, unsigned f, unsigned first, unsigned count)
{
	struct model *m = &c->w->model;
	for (unsigned u = first; u < first + count; u++) {
		m->shared[f][u] |= m->alone[f][u] & bit(c);
		m->alone[f][u] &= ~bit(c);
	}
}

void model_released(struct client *c, unsigned f, unsigned first, unsigned count)
{
	struct model *m = &c->w->model;
	heads_say(c->w, "%s gives up %u+%u of file %u", c->name, first, count, f);
	for (unsigned u = first; u < first + count; u++) {
		m->alone[f][u] &= ~bit(c);
		m->shared[f][u] &= ~bit(c);
	}
}

bool model_has(const struct client *c, unsigned f, unsigned u, bool alone)
{
	const struct model *m = &c->w->model;
	return (m->alone[f][u] | (alone ? 0 : m->shared[f][u])) & bit(c);
}

bool model_has_any(const struct client *c, unsigned f)
{
	for (unsigned u = 0; u < UNITS; u++)
		if (model_has(c, f, u, false))
			return true;
	return false;
}

void model_opened(struct client *c, unsigned f, unsigned access, unsigned deny)
{
	struct model *m = &c->w->model;
	unsigned others = ~bit(c);
	if (((access & 1) && (m->deny_reads[f] & others)) ||
	    ((access & 2) && (m->deny_writes[f] & others)) ||
	    ((deny & 1) && (m->reads[f] & others)) || ((deny & 2) && (m->writes[f] & others)))
		heads_fail(c->w,
			   "%s opens file %u for %u, denying %u, against others' reservations",
			   c->name, f, access, deny);
	m->reads[f] |= access & 1 ? bit(c) : 0;
	m->writes[f] |= access & 2 ? bit(c) : 0;
	m->deny_reads[f] |= deny & 1 ? bit(c) : 0;
	m->deny_writes[f] |= deny & 2 ? bit(c) : 0;
}

void model_closing(struct client *c, unsigned f)
{
	struct model *m = &c->w->model;
	m->reads[f] &= ~bit(c);
	m->writes[f] &= ~bit(c);
	m->deny_reads[f] &= ~bit(c);
	m->deny_writes[f] &= ~bit(c);
}

void model_read(struct client *c, unsigned f, unsigned u, const uint8_t bytes[UNIT_BYTES])
{
	uint64_t is = be64_get(bytes), value = c->w->model.value[f][u];
	c->w->result->reads++;
	if (is != value)
		heads_fail(c->w,
			   "%s reads %" PRIu64 " in unit %u of file %u, where %" PRIu64
			   " was written",
			   c->name, is, u, f, value);
}

void model_writing(struct client *c, unsigned f, unsigned u, uint8_t ret[UNIT_BYTES])
{
	be64_put(ret, c->w->model.value[f][u] + 1);
}

void model_written(struct client *c, unsigned f, unsigned u)
{
	c->w->model.value[f][u]++;
	c->w->result->writes++;
}
