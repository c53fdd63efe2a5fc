/*
 * The schema of the configuration file, once, for libcyaml; and a walk over the
 * parsed tree by that same schema. libcyaml stops at the first thing that does
 * not fit; an admin wants them all, each with its line.
 */
#include "runtime/config_load.h"
#include <stdlib.h>
#include <string.h>

#define TEXT(S, key)                                                                               \
	CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct S, key, 0,   \
			       CONFIG_TEXT_MAX)
#define TEXT_REQ(S, key)                                                                           \
	CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER, struct S, key, 0, CONFIG_TEXT_MAX)
#define NUMBER(S, key) CYAML_FIELD_UINT(#key, CYAML_FLAG_OPTIONAL, struct S, key)
#define LIST(S, key, entry, max)                                                                   \
	CYAML_FIELD_SEQUENCE(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct S, key,        \
			     &(entry), 0, max)

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CONFIG_TEXT_MAX),
};
static const cyaml_schema_value_t cpu_entry = {
    CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int),
};

static const cyaml_schema_field_t array_fields[] = {
    TEXT(config_array, name),
    TEXT(config_array, memory),
    TEXT(config_array, run_dir),
    TEXT(config_array, state_dir),
    TEXT(config_array, memory_dir),
    TEXT(config_array, admin_group),
    TEXT(config_array, log_level),
    NUMBER(config_array, watchdog),
    TEXT(config_array, watchdog_restart),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t iscsi_fields[] = {
    NUMBER(config_iscsi, max_connections),
    NUMBER(config_iscsi, login_timeout),
    NUMBER(config_iscsi, nop_interval),
    NUMBER(config_iscsi, nop_timeout),
    NUMBER(config_iscsi, data_timeout),
    NUMBER(config_iscsi, logout_time),
    LIST(config_iscsi, chap, text_entry, CONFIG_CHAP_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t link_fields[] = {
    TEXT_REQ(config_link, path),
    TEXT_REQ(config_link, local),
    TEXT_REQ(config_link, remote),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t link_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_link, link_fields),
};

static const cyaml_schema_field_t controller_fields[] = {
    TEXT_REQ(config_controller, name),
    TEXT(config_controller, cache),
    NUMBER(config_controller, reactors),
    LIST(config_controller, pin, cpu_entry, CONFIG_PIN_MAX),
    TEXT(config_controller, io),
    NUMBER(config_controller, poll_us),
    NUMBER(config_controller, disk_timeout),
    LIST(config_controller, disks, text_entry, CONFIG_DISKS_MAX),
    LIST(config_controller, portals, text_entry, CONFIG_PORTALS_MAX),
    CYAML_FIELD_MAPPING("iscsi", CYAML_FLAG_OPTIONAL, struct config_controller, iscsi,
			iscsi_fields),
    TEXT(config_controller, partner),
    LIST(config_controller, links, link_entry, CONFIG_LINKS_MAX),
    TEXT(config_controller, link_psk),
    TEXT(config_controller, link_cert),
    TEXT(config_controller, link_key),
    TEXT(config_controller, link_ca),
    NUMBER(config_controller, link_heartbeat_ms),
    NUMBER(config_controller, link_dead_ms),
    NUMBER(config_controller, mirror_share),
    TEXT(config_controller, lone),
    TEXT(config_controller, give_back),
    NUMBER(config_controller, give_back_delay),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t controller_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_controller, controller_fields),
};

static const cyaml_schema_field_t head_fields[] = {
    TEXT_REQ(config_head, name),
    TEXT(config_head, group),
    TEXT(config_head, controller),
    TEXT(config_head, address),
    TEXT(config_head, address_script),
    TEXT(config_head, advertise),
    NUMBER(config_head, nfs_port),
    NUMBER(config_head, mount_port),
    NUMBER(config_head, lock_grace),
    NUMBER(config_head, head_lease),
    NUMBER(config_head, max_connections),
    TEXT(config_head, nfs4),
    TEXT(config_head, nfs4_domain),
    TEXT(config_head, nfs4_delegations),
    TEXT(config_head, durable_state),
    TEXT(config_head, rpcbind),
    TEXT(config_head, metadata_memory),
    TEXT(config_head, user),
    TEXT(config_head, tls_cert),
    TEXT(config_head, tls_key),
    TEXT(config_head, tls_ca),
    TEXT(config_head, tls_mutual),
    TEXT(config_head, keytab),
    TEXT(config_head, principal),
    TEXT(config_head, groups),
    NUMBER(config_head, groups_time),
    LIST(config_head, pin, cpu_entry, CONFIG_PIN_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t head_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_head, head_fields),
};

static const cyaml_schema_field_t file_fields[] = {
    CYAML_FIELD_MAPPING("array", CYAML_FLAG_DEFAULT, struct config_file, array, array_fields),
    CYAML_FIELD_SEQUENCE("controllers", CYAML_FLAG_POINTER, struct config_file, controllers,
			 &controller_entry, 0, CONFIG_CONTROLLERS_MAX),
    LIST(config_file, heads, head_entry, CONFIG_HEADS_MAX),
    CYAML_FIELD_END,
};
const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_file, file_fields),
};

/* ---- the walk ---- */

static void walk_value(struct config_load *l, yaml_node_t *node, const char *what,
		       const cyaml_schema_value_t *v);

static const char *kind_name(const yaml_node_t *n)
{
	switch (n->type) {
	case YAML_SCALAR_NODE:
		return n->data.scalar.length ? "a single value" : "nothing";
	case YAML_SEQUENCE_NODE:
		return "a list";
	case YAML_MAPPING_NODE:
		return "a section of keys";
	default:
		return "nothing";
	}
}

static bool must_be(struct config_load *l, yaml_node_t *node, yaml_node_type_t type,
		    const char *what, const char *wanted, const char *remedy)
{
	if (node->type == type)
		return true;
	config_problem(l, node, remedy, "%s is %s where %s belongs", what, kind_name(node), wanted);
	return false;
}

static const cyaml_schema_field_t *field_of(const cyaml_schema_value_t *v, const char *key)
{
	for (const cyaml_schema_field_t *f = v->mapping.fields; f->key; f++)
		if (strcmp(f->key, key) == 0)
			return f;
	return NULL;
}

/* "known keys: a, b, c" */
static void known_keys(const cyaml_schema_value_t *v, char *ret, size_t size)
{
	size_t n = (size_t)snprintf(ret, size, "use one of:");
	for (const cyaml_schema_field_t *f = v->mapping.fields; f->key && n < size; f++)
		n += (size_t)snprintf(ret + n, size - n, "%s %s", f == v->mapping.fields ? "" : ",",
				      f->key);
}

static bool seen_before(struct config_load *l, yaml_node_t *map, yaml_node_pair_t *upto)
{
	yaml_node_t *key = yaml_document_get_node(&l->doc, upto->key);
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < upto; p++) {
		yaml_node_t *k = yaml_document_get_node(&l->doc, p->key);
		if (k->type == YAML_SCALAR_NODE &&
		    strcmp((char *)k->data.scalar.value, (char *)key->data.scalar.value) == 0)
			return true;
	}
	return false;
}

static void walk_pair(struct config_load *l, yaml_node_t *map, yaml_node_pair_t *p,
		      const char *what, const cyaml_schema_value_t *v)
{
	yaml_node_t *key = yaml_document_get_node(&l->doc, p->key);
	yaml_node_t *value = yaml_document_get_node(&l->doc, p->value);
	if (key->type != YAML_SCALAR_NODE ||
	    strlen((char *)key->data.scalar.value) != key->data.scalar.length) {
		config_problem(l, key, "write `key: value`", "a key of %s is not a word", what);
		return;
	}
	const char *name = (char *)key->data.scalar.value;
	const cyaml_schema_field_t *f = field_of(v, name);
	if (!f) {
		char known[384];
		known_keys(v, known, sizeof(known));
		config_problem(l, key, known, "unknown key `%.64s` in %s", name, what);
		return;
	}
	if (seen_before(l, map, p)) {
		config_problem(l, key, "keep one of them", "`%s` is given twice in %s", name, what);
		return;
	}
	walk_value(l, value, f->key, &f->value);
}

static void walk_mapping(struct config_load *l, yaml_node_t *node, const char *what,
			 const cyaml_schema_value_t *v)
{
	if (!must_be(l, node, YAML_MAPPING_NODE, what, "a section of keys",
		     "write its keys, one a line, further to the right"))
		return;
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
	     p < node->data.mapping.pairs.top && l->problems < CONFIG_PROBLEMS_MAX; p++)
		walk_pair(l, node, p, what, v);
	for (const cyaml_schema_field_t *f = v->mapping.fields; f->key; f++) {
		if (f->value.flags & CYAML_FLAG_OPTIONAL)
			continue;
		if (!config_node_key(l, node, f->key)) {
			char remedy[96];
			snprintf(remedy, sizeof(remedy), "add `%s:`; see isthmus.conf(5)", f->key);
			config_problem(l, node, remedy, "%s lacks `%s`", what, f->key);
		}
	}
}

static void walk_sequence(struct config_load *l, yaml_node_t *node, const char *what,
			  const cyaml_schema_value_t *v)
{
	if (!must_be(l, node, YAML_SEQUENCE_NODE, what, "a list",
		     "write [one, two] or one `- item` a line"))
		return;
	yaml_node_item_t *start = node->data.sequence.items.start;
	size_t n = (size_t)(node->data.sequence.items.top - start);
	if (n > v->sequence.max) {
		config_problem(l, node, "leave some out", "%s has %zu items, more than %u", what, n,
			       v->sequence.max);
		return;
	}
	char item[64];
	snprintf(item, sizeof(item), "an item of %.40s", what);
	for (size_t i = 0; i < n && l->problems < CONFIG_PROBLEMS_MAX; i++)
		walk_value(l, yaml_document_get_node(&l->doc, start[i]), item, v->sequence.entry);
}

/* Decimal only: libcyaml would read 010 as eight. */
#define DIGITS_MAX 9 /* which 32 bits always hold */

static bool is_number(const char *s, bool negative_too)
{
	if (negative_too && *s == '-')
		s++;
	size_t n = strspn(s, "0123456789");
	return n > 0 && n <= DIGITS_MAX && s[n] == '\0' && (s[0] != '0' || n == 1);
}

static void walk_scalar(struct config_load *l, yaml_node_t *node, const char *what,
			const cyaml_schema_value_t *v)
{
	bool text = v->type == CYAML_STRING;
	if (!must_be(l, node, YAML_SCALAR_NODE, what, text ? "a text" : "a number",
		     "write one value after the colon"))
		return;
	const char *s = (char *)node->data.scalar.value;
	size_t len = node->data.scalar.length;
	if (strlen(s) != len || strpbrk(s, "\n\r\t"))
		config_problem(l, node, "use printable text on one line",
			       "%s holds control characters", what);
	else if (text && len > v->string.max)
		config_problem(l, node, "shorten it", "%s has %zu bytes, more than %u", what, len,
			       v->string.max);
	else if (!text && strspn(s, "0123456789") == len && len > DIGITS_MAX)
		config_problem(l, node, "choose a smaller number", "%s `%.64s` is too large", what,
			       s);
	else if (!text && !is_number(s, v->type == CYAML_INT))
		config_problem(l, node, "write a decimal number without a unit",
			       "%s is `%.64s`, not a number", what, s);
}

static void walk_value(struct config_load *l, yaml_node_t *node, const char *what,
		       const cyaml_schema_value_t *v)
{
	switch (v->type) {
	case CYAML_MAPPING:
		walk_mapping(l, node, what, v);
		break;
	case CYAML_SEQUENCE:
		walk_sequence(l, node, what, v);
		break;
	default:
		walk_scalar(l, node, what, v);
	}
}

void config_schema_walk(struct config_load *l)
{
	walk_value(l, yaml_document_get_root_node(&l->doc), "the file", &config_schema);
}
