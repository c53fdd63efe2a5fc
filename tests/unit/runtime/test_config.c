/* The configuration file: defaults, every kind of broken file, and its line numbers. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/admin.h"
#include "runtime/config_file.h"
#include "runtime/err.h"

static char dir[64], file[96];

struct told {
	unsigned n;
	char text[64 * 1024];
};

static void say(void *arg, const char *line)
{
	struct told *t = arg;
	size_t n = strlen(t->text);
	t->n++;
	snprintf(t->text + n, sizeof(t->text) - n, "%s\n", line);
}

static void write_file(const void *text, size_t len)
{
	FILE *f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

static struct told told;

static int load(const char *text, struct config_file **ret)
{
	memset(&told, 0, sizeof(told));
	write_file(text, strlen(text));
	return config_file_load(ret, file, say, &told);
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/isthmus-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/c.yaml", dir);
}

static void teardown(void)
{
	unlink(file);
	rmdir(dir);
}

#define CONTROLLER_ALONE "array: {}\n" CONTROLLER
#define CONTROLLER	 "controllers:\n  - name: a\n    disks: [/d0]\n"

START_TEST(defaults_are_filled)
{
	struct config_file *c;
	ck_assert_int_eq(load("array:\n  name: demo\n" CONTROLLER "heads:\n  - name: h1\n", &c), 0);
	ck_assert_uint_eq(told.n, 0);
	ck_assert_str_eq(c->array.memory, "volatile");
	ck_assert(!config_battery(c));
	ck_assert_str_eq(c->array.run_dir, "/run/isthmus");
	ck_assert_str_eq(c->array.memory_dir, "/dev/shm/isthmus-demo");
	const struct config_controller *k = config_controller(c, "a");
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->cache_bytes, 256ull << 20);
	ck_assert_uint_eq(k->portals_count, 1);
	ck_assert_str_eq(k->portals[0], "0.0.0.0:3260");
	ck_assert_str_eq(k->io, "uring");
	ck_assert_uint_eq(k->iscsi.max_connections, 1024);
	ck_assert_uint_eq(k->iscsi.nop_interval, 30);
	ck_assert_uint_eq(k->iscsi.logout_time, 2);
	ck_assert_uint_eq(k->iscsi.chap_count, 0);
	const struct config_head *h = config_head(c, "h1");
	ck_assert_ptr_nonnull(h);
	ck_assert_str_eq(h->controller, "a");
	ck_assert_uint_eq(h->nfs_port, 2049);
	ck_assert_uint_eq(h->mount_port, 20048);
	ck_assert_uint_eq(h->metadata_memory_bytes, 256ull << 20);
	ck_assert_uint_eq(h->max_connections, 4096);
	ck_assert(!config_head_groups(h) && h->groups_time == 300);
	ck_assert_str_eq(h->nfs4, "on");
	ck_assert_str_eq(h->nfs4_domain, "");
	ck_assert_str_eq(h->advertise, "");
	ck_assert_str_eq(h->keytab, "");
	ck_assert_str_eq(h->tls_cert, "");
	ck_assert(!config_head_tls_mutual(h));
	ck_assert_str_eq(h->principal, "");
	ck_assert_str_eq(h->nfs4_delegations, "on");
	ck_assert_str_eq(h->durable_state, "on");
	ck_assert_uint_eq(h->head_lease, 2);
	ck_assert_str_eq(h->address_script, "");
	ck_assert_ptr_null(config_head(c, "h2"));
	char path[108];
	config_path_admin(c, "controller", "a", path);
	ck_assert_str_eq(path, "/run/isthmus/controller-a.sock");
	ck_assert_uint_eq(c->array.watchdog, 10);
	ck_assert(!config_watchdog_restart(c));
	config_path_supervisor(c, path);
	ck_assert_str_eq(path, "/run/isthmus/isthmusd.sock");
	config_file_free(c);
}
END_TEST

START_TEST(all_values_are_read)
{
	struct config_file *c;
	const char *text =
	    "array: {name: x, memory: battery, run_dir: /r, state_dir: /s, memory_dir: /m,\n"
	    "        log_level: debug, admin_group: '', watchdog: 0, watchdog_restart: yes}\n"
	    "controllers:\n"
	    "  - name: a\n    cache: 1.5GiB\n    reactors: 2\n    pin: [0, 3]\n    io: threads\n"
	    "    poll_us: 0\n"
	    "    disk_timeout: 9\n"
	    "    disks: [/d0, /d1]\n    portals: ['127.0.0.1:3260', '[::1]:3260,7']\n"
	    "    iscsi: {max_connections: 9, nop_interval: 5, nop_timeout: 6, chap: [sha256, "
	    "md5]}\n"
	    "  - name: b\n    disks: [/d2]\n    portals: ['127.0.0.1:3261']\n"
	    "heads:\n"
	    "  - {name: h1, group: g1, controller: b, address: 127.0.0.1, nfs_port: 3049,\n"
	    "     mount_port: 0, rpcbind: off, advertise: '192.0.2.1', nfs4: off, nfs4_domain: "
	    "Some-where.example.org, "
	    "nfs4_delegations: off, durable_state: off, "
	    "metadata_memory: 64M, pin: [1], max_connections: 60000,\n"
	    "     keytab: /etc/krb5.keytab, principal: nfs/a.example.org@EXAMPLE.ORG,\n"
	    "     tls_cert: /c.pem, tls_key: /k.pem, tls_ca: /a.pem, tls_mutual: on}\n";
	int rc = load(text, &c);
	ck_assert_msg(rc == 0, "%s", told.text);
	ck_assert(config_battery(c));
	ck_assert_uint_eq(c->array.watchdog, 0);
	ck_assert(config_watchdog_restart(c));
	ck_assert_uint_eq(c->controllers[0].cache_bytes, 1536ull << 20);
	ck_assert_uint_eq(c->controllers[0].pin_count, 2);
	ck_assert_uint_eq(c->controllers[0].poll_us, 0);
	ck_assert_uint_eq(c->controllers[1].poll_us, 20);
	ck_assert_uint_eq(c->controllers[0].disk_timeout, 9);
	ck_assert_uint_eq(c->controllers[1].disk_timeout, 15);
	ck_assert_int_eq(c->controllers[0].pin[1], 3);
	ck_assert_uint_eq(c->controllers[0].portals_count, 2);
	const struct config_iscsi *i = &c->controllers[0].iscsi;
	ck_assert_uint_eq(i->max_connections, 9);
	ck_assert_uint_eq(i->nop_interval, 5);
	ck_assert_uint_eq(i->nop_timeout, 6);
	ck_assert_uint_eq(i->data_timeout, 30);
	ck_assert_uint_eq(i->chap_count, 2);
	ck_assert_str_eq(i->chap[1], "md5");
	ck_assert_uint_eq(c->controllers[1].iscsi.max_connections, 1024);
	ck_assert_uint_eq(c->heads[0].mount_port, 0);
	ck_assert_uint_eq(c->heads[0].max_connections, 60000);
	ck_assert_str_eq(c->heads[0].rpcbind, "off");
	ck_assert_str_eq(c->heads[0].nfs4, "off");
	ck_assert_str_eq(c->heads[0].nfs4_domain, "Some-where.example.org");
	ck_assert_str_eq(c->heads[0].advertise, "192.0.2.1");
	ck_assert_str_eq(c->heads[0].keytab, "/etc/krb5.keytab");
	ck_assert_str_eq(c->heads[0].tls_cert, "/c.pem");
	ck_assert_str_eq(c->heads[0].tls_key, "/k.pem");
	ck_assert_str_eq(c->heads[0].tls_ca, "/a.pem");
	ck_assert(config_head_tls_mutual(&c->heads[0]));
	ck_assert_str_eq(c->heads[0].principal, "nfs/a.example.org@EXAMPLE.ORG");
	ck_assert_str_eq(c->heads[0].nfs4_delegations, "off");
	ck_assert_str_eq(c->heads[0].durable_state, "off");
	config_file_free(c);
}
END_TEST

START_TEST(partners)
{
	struct config_file *c;
	int rc =
	    load("array: {memory: battery, run_dir: /r}\ncontrollers:\n"
		 "  - {name: a, disks: [/d0, /d1], portals: [], partner: b}\n"
		 "  - {name: b, disks: [/d1, /d0], portals: [], partner: a, lone: write-back,\n"
		 "     mirror_share: 12, give_back: no, give_back_delay: 0,\n"
		 "     link_dead_ms: 700}\n",
		 &c);
	ck_assert_msg(rc == 0, "%s", told.text);
	const struct config_controller *a = &c->controllers[0], *b = &c->controllers[1];
	ck_assert_ptr_eq(config_partner(c, a), b);
	ck_assert_ptr_eq(config_partner(c, b), a);
	ck_assert(config_lone_write_through(a) && !config_lone_write_through(b));
	ck_assert(config_give_back(a) && !config_give_back(b));
	ck_assert_uint_eq(a->give_back_delay, 5);
	ck_assert_uint_eq(b->give_back_delay, 0);
	ck_assert_uint_eq(a->mirror_share, 30);
	ck_assert_uint_eq(b->mirror_share, 12);
	ck_assert_uint_eq(a->link_heartbeat_ms, 100);
	ck_assert_uint_eq(a->link_dead_ms, 1000);
	ck_assert_uint_eq(b->link_dead_ms, 700);
	ck_assert_uint_eq(a->links_count, 4);
	ck_assert_str_eq(a->links[0].path, "control");
	ck_assert_str_eq(a->links[0].local, "/r/link-a-control0.sock");
	ck_assert_str_eq(a->links[0].remote, "/r/link-b-control0.sock");
	ck_assert_str_eq(b->links[3].local, "/r/link-b-data1.sock");
	ck_assert(config_link_unix(&a->links[0]));
	config_file_free(c);
	rc = load("array: {}\ncontrollers:\n"
		  "  - {name: a, disks: [/d0], partner: b, link_psk: /k, links: [\n"
		  "     {path: control, local: '127.0.0.1:70', remote: '[::1]:71'},\n"
		  "     {path: data, local: '127.0.0.1:72', remote: '[::1]:73'}]}\n"
		  "  - {name: b, disks: [/d0], portals: [], partner: a, link_psk: /k, links: [\n"
		  "     {path: data, local: '[::1]:73', remote: '127.0.0.1:72'},\n"
		  "     {path: control, local: '[::1]:71', remote: '127.0.0.1:70'}]}\n",
		  &c);
	ck_assert_msg(rc == 0, "%s", told.text);
	ck_assert(!config_link_unix(&c->controllers[1].links[1]));
	ck_assert(!config_lone_write_through(&c->controllers[0]));
	config_file_free(c);
	rc = load(CONTROLLER_ALONE, &c);
	ck_assert_int_eq(rc, 0);
	ck_assert_ptr_null(config_partner(c, &c->controllers[0]));
	ck_assert_uint_eq(c->controllers[0].links_count, 0);
	config_file_free(c);
}
END_TEST

/* Each broken file, the line of its problem and what must be said of it. */
static const struct {
	const char *text;
	unsigned line;
	const char *said;
} broken[] = {
#define PAIR(a, b)                                                                                 \
	"array: {}\ncontrollers:\n  - {name: a, disks: [/d0], portals: []" a                       \
	"}\n  - {name: b, disks: [/d0], portals: []" b "}\n"
#define ROUTES(i, j)                                                                               \
	", links: [{path: control, local: unix, remote: unix}, {path: data, local: '10.0.0." i     \
	":7', remote: '10.0.0." j ":7'}]"
    {PAIR(", partner: b", ""), 3, "`b` does not name `a`"},
    {PAIR(", partner: c", ""), 3, "cannot have the partner `c`"},
    {PAIR(", partner: a", ""), 3, "cannot have the partner `a`"},
    {PAIR("", ""), 4, "already listed by controller `a`"},
    {PAIR("", ", lone: write-back"), 4, "has `lone` but no `partner`"},
    {"array: {}\ncontrollers:\n  - {name: a, disks: [/d0], portals: [], partner: b}\n"
     "  - {name: b, disks: [/d0, /d1], portals: [], partner: a}\n",
     3, "list other disks"},
    {PAIR(", partner: b, links: []", ", partner: a"), 3, "no route of the path `control`"},
    {PAIR(", partner: b, links: [{path: data, local: unix, remote: unix}]", ", partner: a"), 3,
     "no route of the path `control`"},
    {PAIR(", partner: b, links: [{path: video, local: unix, remote: unix}]", ", partner: a"), 3,
     "path cannot be `video`"},
    {PAIR(", partner: b, links: [{path: data, local: unix}]", ", partner: a"), 3, "lacks `remote`"},
    {PAIR(", partner: b" ROUTES("1", "2"), ", partner: a" ROUTES("2", "3")), 3,
     "partner `b` has no such route"},
    {PAIR(", partner: b" ROUTES("1", "2"), ", partner: a"), 3, "partner `b` has no such route"},
    {PAIR(", partner: b, links: [{path: data, local: unix, remote: '1.1.1.1:1'}]", ", partner: a"),
     3, "of two kinds"},
    {PAIR(", partner: b, links: [{path: data, local: 'x:1', remote: '1.1.1.1:1'}]", ", partner: a"),
     3, "`x:1` is not an end"},
    {PAIR(", partner: b, links: [{path: data, local: '1.1.1.1:1,2', remote: '1.1.1.1:1'}]",
	  ", partner: a"),
     3, "is not an end"},
    {PAIR(", partner: b, links: [{path: data, local: '0.0.0.0:1', remote: '1.1.1.1:1'}]",
	  ", partner: a"),
     3, "local cannot be all addresses"},
    {PAIR(", partner: b" ROUTES("1", "2") "", ", partner: a" ROUTES("1", "2")), 4,
     "port 7 of a route to the partner is already taken"},
    {PAIR(", partner: b, link_cert: /c, link_key: /k", ", partner: a"), 3, "are not complete"},
    {PAIR(", partner: b, link_psk: key", ", partner: a, link_psk: /k"), 3,
     "link_psk `key` is not an absolute path"},
    {PAIR(", partner: b, link_psk: /k", ", partner: a"), 3, "prove who they are in two ways"},
    {PAIR(", partner: b, link_psk: /k, link_cert: /c, link_key: /k, link_ca: /a", ", partner: a"),
     3, "has a key and certificates"},
    {PAIR(", partner: b, link_heartbeat_ms: 0", ", partner: a"), 3, "link_heartbeat_ms cannot be"},
    {PAIR(", partner: b, link_dead_ms: 200", ", partner: a"), 3, "link_dead_ms 200 is too short"},
    {PAIR(", partner: b, link_dead_ms: 60001", ", partner: a"), 3, "link_dead_ms cannot be"},
    {PAIR(", partner: b, mirror_share: 81", ", partner: a"), 3, "mirror_share cannot be 81"},
    {PAIR(", partner: b, lone: maybe", ", partner: a"), 3, "lone cannot be `maybe`"},
    {PAIR(", partner: b, give_back: maybe", ", partner: a"), 3, "give_back cannot be `maybe`"},
    {PAIR(", partner: b, give_back_delay: 3601", ", partner: a"), 3,
     "give_back_delay cannot be 3601"},
    {PAIR(", partner: b, link_dead_ms: 9999999999", ", partner: a"), 3,
     "link_dead_ms `9999999999` is too large"},
    {PAIR(", partner: b", ", partner: a") "  - {name: c, disks: [/d9], portals: [], partner: a}\n",
     5, "`a` cannot be the partner of `c`: it has `b`; leave the key out"},
    {"", 1, "empty"},
    {"array:\n  name: x\n", 1, "lacks `controllers`"},
    {CONTROLLER, 1, "lacks `array`"},
    {"array:\n" CONTROLLER, 1, "array is nothing"},
    {"array: 5\n" CONTROLLER, 1, "array is a single value"},
    {"array: [1]\n" CONTROLLER, 1, "array is a list"},
    {"array: {}\ncontrollers: {name: a}\n", 2, "controllers is a section of keys"},
    {"array: {}\ncontrollers: []\n", 2, "no controller"},
    {"array: {}\ncontrollers:\n  - a\n", 3, "a single value where a section"},
    {"array:\n  nmae: x\n" CONTROLLER, 2, "unknown key `nmae`"},
    {"array:\n  name: x\n  name: y\n" CONTROLLER, 3, "given twice"},
    {"array:\n  name: [x]\n" CONTROLLER, 2, "name is a list where a text"},
    {"array:\n  name: a/b\n" CONTROLLER, 2, "is not a name"},
    {"array:\n  name: ''\n" CONTROLLER, 2, "is not a name"},
    {"array:\n  memory: fast\n" CONTROLLER, 2, "memory cannot be `fast`"},
    {"array:\n  run_dir: run\n" CONTROLLER, 2, "not an absolute path"},
    {"array:\n  log_level: loud\n" CONTROLLER, 2, "log_level cannot be"},
    {"array:\n  watchdog: 3601\n" CONTROLLER, 2, "watchdog of 3601 seconds is out of range"},
    {"array:\n  watchdog: soon\n" CONTROLLER, 2, "watchdog"},
    {"array:\n  watchdog_restart: maybe\n" CONTROLLER, 2, "watchdog_restart cannot be"},
    {"array:\n  admin_group: no-such-group-here\n" CONTROLLER, 2, "does not exist"},
    {"array:\n  run_dir: "
     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaa\n" CONTROLLER,
     2, "run_dir is too long"},
    {"array:\n  memory_dir: "
     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaa\n" CONTROLLER,
     2, "memory_dir is too long"},
    {"array: {}\ncontrollers:\n  - disks: [/d]\n", 3, "lacks `name`"},
    {"array: {}\n" CONTROLLER "    cache: lots\n", 5, "not a size"},
    {"array: {}\n" CONTROLLER "    cache: 1K\n", 5, "out of bounds"},
    {"array: {}\n" CONTROLLER "    cache: 99999999999999999999G\n", 5, "not a size"},
    {"array: {}\n" CONTROLLER "    reactors: many\n", 5, "not a number"},
    {"array: {}\n" CONTROLLER "    reactors: -1\n", 5, "not a number"},
    {"array: {}\n" CONTROLLER "    reactors: 010\n", 5, "not a number"},
    {"array: {}\n" CONTROLLER "    reactors: 65\n", 5, "too many"},
    {"array: {}\n" CONTROLLER "    reactors: 99999999999999999999\n", 5, "is too large"},
    {"array: {}\n" CONTROLLER "    pin: 3\n", 5, "pin is a single value where a list"},
    {"array: {}\n" CONTROLLER "    pin: [0,\n      x]\n", 6, "not a number"},
    {"array: {}\n" CONTROLLER "    pin: [-1]\n", 5, "no CPU -1"},
    {"array: {}\n" CONTROLLER "    pin: [1, 1]\n", 5, "listed twice"},
    {"array: {}\n" CONTROLLER "    io: magic\n", 5, "io cannot be"},
    {"array: {}\n" CONTROLLER "    poll_us: 1001\n", 5, "too long"},
    {"array: {}\n" CONTROLLER "    disk_timeout: 2\n", 5, "disk_timeout cannot be 2"},
    {"array: {}\n" CONTROLLER "    disk_timeout: 601\n", 5, "disk_timeout cannot be 601"},
    {"array: {}\n" CONTROLLER "    portals: [3260]\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['0.0.0.0:0']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['0.0.0.0:65536']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['host:3260']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['::1:3260']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['[]:3260']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['1.1.1.1:80,0']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    portals: ['1.1.1.1:80,65536']\n", 5, "not an address and"},
    {"array: {}\n" CONTROLLER "    portals: ['1.1.1.1:80,']\n", 5, "not an address and a port"},
    {"array: {}\n" CONTROLLER "    iscsi: 3\n", 5, "a section of keys"},
    {"array: {}\n" CONTROLLER "    iscsi: {odd: 3}\n", 5, "unknown key"},
    {"array: {}\n" CONTROLLER "    iscsi: {nop_interval: 0}\n", 5, "cannot be 0"},
    {"array: {}\n" CONTROLLER "    iscsi:\n      data_timeout: 3601\n", 6, "cannot be 3601"},
    {"array: {}\n" CONTROLLER "    iscsi: {max_connections: many}\n", 5, "not a number"},
    {"array: {}\n" CONTROLLER "    iscsi: {chap: []}\n", 5, "chap allows nothing"},
    {"array: {}\n" CONTROLLER "    iscsi: {chap: [md5,\n       md4]}\n", 6, "no CHAP algorithm"},
    {"array: {}\n" CONTROLLER "    portals: ['1.1.1.1:80', '0.0.0.0:80']\n", 5, "already taken"},
    {"array: {}\ncontrollers:\n  - name: a\n", 3, "has no disks"},
    {"array: {}\ncontrollers:\n  - name: a\n    disks: [/d, /d]\n", 4, "already listed"},
    {"array: {}\n" CONTROLLER "  - name: b\n    disks: [/d0]\n    portals: []\n", 6,
     "already listed by controller `a`"},
    {"array: {}\ncontrollers:\n  - name: a\n    disks: [d]\n", 4, "not an absolute path"},
    {"array: {}\n" CONTROLLER "  - name: a\n    disks: [/d1]\n    portals: []\n", 5,
     "two controllers `a`"},
    {"array: {}\n" CONTROLLER "  - name: b\n    disks: [/d1]\n", 5, "already taken"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    controller: z\n", 7,
     "uses controller `z`, which does not exist"},
    {"array: {}\n" CONTROLLER
     "  - name: b\n    disks: [/d1]\n    portals: []\nheads:\n  - name: h\n",
     9, "does not say which controller"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n  - name: h\n    address: 127.0.0.2\n", 7,
     "two heads `h`"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    nfs_port: 0\n", 7, "nfs_port cannot be 0"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    nfs_port: 3260\n", 7, "already taken"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    mount_port: 2049\n", 7, "already taken"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    address: here\n", 7, "not an address"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    rpcbind: on\n", 7, "rpcbind cannot be"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    user: no-such-user-here\n", 7,
     "does not exist"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    metadata_memory: 1M\n", 7, "out of bounds"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    max_connections: 0\n", 7, "out of range"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    max_connections: 60001\n", 7,
     "out of range"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    advertise: host\n", 7, "not an address"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    advertise: '::'\n", 7, "not an address"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    nfs4_domain: a..b\n", 7, "not a domain"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    nfs4_domain: a@b\n", 7, "not a domain"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    durable_state: no\n", 7, "durable_state"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    head_lease: 3601\n", 7, "head_lease"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    address_script: bin/up\n", 7,
     "address_script"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    nfs4_delegations: yes\n", 7,
     "nfs4_delegations"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    nfs4_domain: b.\n", 7, "not a domain"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    keytab: here\n", 7, "no path"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    tls_cert: c\n    tls_key: /k\n", 7,
     "no path"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    tls_cert: /c\n", 6, "its key"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    tls_ca: /c\n", 7, "of its own"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    tls_mutual: on\n", 7, "cannot check"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    tls_mutual: x\n", 7, "on or off"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    principal: nfs/h\n", 7, "no keytab"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    principal: host/h\n    keytab: /k\n", 7,
     "not one of an NFS server"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    groups: both\n", 7, "client"},
    {"array: {}\n" CONTROLLER "heads:\n  - name: h\n    groups_time: 0\n", 7, "out of range"},
    {"array: {}\n" CONTROLLER "heads: &x\n  - name: h\n  - *x\n", 7, "aliases"},
    {"array: {}\n" CONTROLLER "---\narray: {}\n", 5, "second document"},
    {"array: {}\n\tcontrollers: x\n", 2, "not YAML"},
    {"array: {name: \"a\n", 2, "not YAML"},
    {"array: {name: \"a\\0b\"}\n" CONTROLLER, 1, "control characters"},
    {"array: {\"na\\0me\": b}\n" CONTROLLER, 1, "not a word"},
    {"array: {[a]: b}\n" CONTROLLER, 1, "not a word"},
    {"[[[[[[[[[[[[1]]]]]]]]]]]]\n", 1, "nested too deeply"},
    {"a list\n", 1, "the file is a single value"},
};

START_TEST(broken_files_are_told)
{
	struct config_file *c = NULL;
	int rc = load(broken[_i].text, &c);
	ck_assert_msg(rc == -ERR_CONFIG, "file %d: rc %d:\n%s", _i, rc, broken[_i].text);
	ck_assert_ptr_null(c);
	char want[128];
	snprintf(want, sizeof(want), "%s:%u: ", file, broken[_i].line);
	bool found = false;
	for (char *line = strtok(told.text, "\n"); line; line = strtok(NULL, "\n")) {
		ck_assert_msg(strstr(line, "; ") != NULL, "no remedy: %s", line);
		if (strncmp(line, want, strlen(want)) == 0 && strstr(line, broken[_i].said))
			found = true;
	}
	ck_assert_msg(found, "file %d: nothing says line %u %s", _i, broken[_i].line,
		      broken[_i].said);
}
END_TEST

/* What follows from a wrong partner is not told as if it were a mistake of its own. */
START_TEST(a_wrong_partner_is_one_problem)
{
	static const char *const wrong[] = {PAIR(", partner: b", ""), PAIR("", ", partner: a")};
	struct config_file *c;
	for (unsigned i = 0; i < 2; i++) {
		told.n = 0;
		ck_assert_int_eq(load(wrong[i], &c), -ERR_CONFIG);
		ck_assert_msg(told.n == 1, "%s", told.text);
	}
	/* of a, and of b; nothing about the disks that both list */
	ck_assert_int_eq(load(PAIR(", partner: c", ", partner: a"), &c), -ERR_CONFIG);
	ck_assert_ptr_null(strstr(told.text, "/d0"));
}
END_TEST

START_TEST(all_problems_at_once)
{
	struct config_file *c;
	int rc = load("array:\n  nmae: x\n  memory: [1]\ncontrollers:\n  - disks: 3\n"
		      "    cach: 1\nheads:\n  - naem: h\n",
		      &c);
	ck_assert_int_eq(rc, -ERR_CONFIG);
	/* nmae, memory, lacks name, disks, cach, naem, lacks name */
	ck_assert_uint_eq(told.n, 7);
}
END_TEST

START_TEST(problems_are_bounded)
{
	struct config_file *c;
	size_t n = 0;
	static char text[200000];
	n += (size_t)snprintf(text, sizeof(text), "array: {}\n" CONTROLLER);
	for (int i = 0; i < 10000; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "k%d: 1\n", i);
	ck_assert_int_eq(load(text, &c), -ERR_CONFIG);
	ck_assert_uint_le(told.n, 52);
}
END_TEST

START_TEST(files_that_are_none)
{
	struct config_file *c;
	memset(&told, 0, sizeof(told));
	ck_assert_int_eq(config_file_load(&c, "/nonexistent/x", say, &told), -ENOENT);
	ck_assert_uint_eq(told.n, 1);
	ck_assert_int_eq(config_file_load(&c, dir, say, &told), -EISDIR);
	char *big = malloc(2 << 20);
	memset(big, '#', 2 << 20);
	write_file(big, 2 << 20);
	ck_assert_int_eq(config_file_load(&c, file, say, &told), -EFBIG);
	ck_assert_uint_eq(told.n, 3);
	/* Random bytes: an error, never a crash. */
	unsigned seed = 1;
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 512; i++)
			big[i] = (char)rand_r(&seed);
		write_file(big, 512);
		ck_assert_int_eq(config_file_load(&c, file, say, &told), -ERR_CONFIG);
	}
	free(big);
}
END_TEST

START_TEST(truncated_and_flipped)
{
	static const char good[] = "array:\n  name: demo\n  memory: battery\n" CONTROLLER
				   "    portals: ['0.0.0.0:3260']\n    pin: [0]\nheads:\n"
				   "  - name: h\n    nfs_port: 2049\n";
	char text[sizeof(good)];
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(text, good, sizeof(good));
			if (bit == 7)
				text[i] = '\0'; /* truncated here */
			else
				text[i] ^= (char)(1 << bit);
			struct config_file *c = NULL;
			int rc = load(text, &c);
			ck_assert_msg(rc == 0 || told.n > 0, "nothing told of rc %d", rc);
			ck_assert_int_eq(rc == 0, c != NULL);
			config_file_free(c);
		}
	}
}
END_TEST

static const struct {
	const char *text;
	int rc;
	uint64_t bytes;
} sizes[] = {
    {"0", 0, 0},
    {"4096", 0, 4096},
    {"4096B", 0, 4096},
    {"1K", 0, 1024},
    {"1kb", 0, 1024},
    {"512MiB", 0, 512ull << 20},
    {"10G", 0, 10ull << 30},
    {"1.5T", 0, 3ull << 39},
    {"0.5K", 0, 512},
    {"16E", -ERANGE, 0},
    {"15.99E", 0, (uint64_t)(((__uint128_t)1599 << 60) / 100)},
    {"18446744073709551615", 0, UINT64_MAX},
    {"18446744073709551616", -ERANGE, 0},
    {"99999999999999999999999", -ERANGE, 0},
    {"", -EINVAL, 0},
    {"G", -EINVAL, 0},
    {"-1", -EINVAL, 0},
    {" 1", -EINVAL, 0},
    {"1 G", -EINVAL, 0},
    {"1.G", -EINVAL, 0},
    {"1.5", -EINVAL, 0},
    {"1GiBi", -EINVAL, 0},
    {"1X", -EINVAL, 0},
    {"0x10", -EINVAL, 0},
};

START_TEST(sizes_are_parsed)
{
	uint64_t v = 0;
	ck_assert_msg(parse_size(sizes[_i].text, &v) == sizes[_i].rc, "%s", sizes[_i].text);
	ck_assert_msg(v == sizes[_i].bytes, "%s: %llu", sizes[_i].text, (unsigned long long)v);
}
END_TEST

START_TEST(keytabs_are_looked_at)
{
	static const struct {
		const char *bytes;
		int rc;
		const char *why;
	} rows[] = {{"", -EINVAL, "is no keytab"},
		    {"\x05", -EINVAL, "is no keytab"},
		    {"\x05\x03", -EINVAL, "is no keytab"},
		    {"\x05\x02", 0, ""},
		    {NULL, -ENOENT, "ktadd"}};
	char path[128], none[] = "", why[CONFIG_WHY_LEN] = "", name[] = "h";
	struct config_head h = {.name = name, .keytab = none};
	ck_assert_int_eq(config_keytab_look(&h, why), 0);
	snprintf(path, sizeof(path), "%s/keytab", dir);
	h.keytab = path;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unlink(path);
		if (rows[i].bytes) {
			FILE *f = fopen(path, "w");
			ck_assert_ptr_nonnull(f);
			fputs(rows[i].bytes, f);
			fclose(f);
		}
		why[0] = '\0';
		ck_assert_int_eq(config_keytab_look(&h, why), rows[i].rc);
		ck_assert_msg(strstr(why, rows[i].why), "%s", why);
	}
	h.keytab = dir;
	ck_assert_int_eq(config_keytab_look(&h, why), -EISDIR);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 20);
	tcase_add_test(t, defaults_are_filled);
	tcase_add_test(t, all_values_are_read);
	tcase_add_test(t, partners);
	tcase_add_loop_test(t, broken_files_are_told, 0, sizeof(broken) / sizeof(broken[0]));
	tcase_add_test(t, a_wrong_partner_is_one_problem);
	tcase_add_test(t, all_problems_at_once);
	tcase_add_test(t, problems_are_bounded);
	tcase_add_test(t, files_that_are_none);
	tcase_add_test(t, truncated_and_flipped);
	tcase_add_loop_test(t, sizes_are_parsed, 0, sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_test(t, keytabs_are_looked_at);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
