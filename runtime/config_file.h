/*
 * The configuration file (YAML, libcyaml): what must be known before the disks
 * are read. Everything else is array metadata, changed by the CLI.
 *
 *   array:
 *     name: demo
 *     memory: volatile            # or battery
 *     run_dir: /run/isthmus       # sockets, pid files
 *     state_dir: /var/lib/isthmus # event logs
 *     memory_dir: /dev/shm/isthmus-demo  # segments; a file system in memory
 *     admin_group: ""             # members may use the CLI; empty: root and own user
 *     log_level: info
 *     watchdog: 10                # seconds without an answer until a child is told as hung; 0: off
 *     watchdog_restart: no        # yes: it is killed then, and started again
 *   controllers:
 *     - name: a
 *       cache: 256MiB
 *       reactors: 2               # 0 or absent: cores, at most 4
 *       pin: [0]                  # CPUs, optional
 *       io: uring                 # or threads
 *       disk_timeout: 15          # s without an answer after which a disk is given up
 *       poll_us: 20               # longest look for work before a thread sleeps; 0: none
 *       disks: [/var/lib/isthmus/disk0.img, …]
 *       portals: ["0.0.0.0:3260", "10.0.0.1:3260,2"]  # perhaps with a portal group's tag
 *       iscsi:                    # all optional; seconds
 *         max_connections: 1024
 *         login_timeout: 15
 *         nop_interval: 30        # a silent initiator is asked for a sign of life
 *         nop_timeout: 30         # and dropped when it gives none
 *         data_timeout: 30        # the data of a write must go on coming
 *         logout_time: 2          # to log out when the target stops
 *         chap: [sha3-256, sha256, sha1, md5]  # what may be used
 *       partner: b                # the two name each other and list the same disks
 *       links:                    # routes in order of preference; absent: unix sockets in run_dir
 *         - {path: control, local: unix, remote: unix}
 *         - {path: data, local: "10.1.0.1:7001", remote: "10.1.0.2:7001"}
 *       link_psk: /etc/isthmus/link.psk   # or link_cert, link_key and link_ca
 *       link_heartbeat_ms: 100
 *       link_dead_ms: 1000        # silence after which the partner counts as gone
 *       mirror_share: 30          # per cent of the partner's cache that its mirror area here has
 *       lone: write-back          # or write-through (default with memory: battery)
 *       give_back: yes            # pools go back to a partner that returned
 *       give_back_delay: 5        # seconds after its return: hosts find their paths to it first
 *   heads:
 *     - name: head1
 *       group: g1
 *       controller: a
 *       address: 0.0.0.0
 *       address_script: ""        # brings the address up where the host does not have it
 *       advertise: ""             # where clients of other heads find this one; none: address
 *       nfs_port: 2049
 *       mount_port: 20048         # 0: the NFS port serves MOUNT as well
 *       lock_grace: 45            # seconds after a restart in which clients reclaim their locks
 *       head_lease: 2             # seconds without a sign of life until it is fenced and
 *                                 # replaced; 0: never (so without durable_state)
 *       max_connections: 4096     # of clients at once
 *       nfs4: on                  # off: of NFS version 3 alone is served
 *       nfs4_domain: ""           # owners are called name@this in version 4; none: by numbers
 *       nfs4_delegations: on      # off: clients of version 4 are lent no files
 *       durable_state: on         # off: clients reclaim what they hold after a restart
 * it keytab: ""                # of Kerberos: keys of nfs/HOST; none: krb5 is not served principal:
 * ""             # the one to be; none: every nfs/HOST of the keytab tls_cert: ""              #
 * PEM, with its chain; none: no TLS tls_key: ""               # of tls_cert; PEM, for the head's
 * user alone tls_ca: ""                # whose certificates of clients are believed; none: nobody's
 *       tls_mutual: off           # on: every client over TLS has to have one
 *       rpcbind: auto             # auto: register when rpcbind is there; off
 *       metadata_memory: 256MiB
 *       user: ""                  # run as this user when started as root
 *       pin: [1]
 */
#ifndef ISTHMUS_RUNTIME_CONFIG_FILE_H
#define ISTHMUS_RUNTIME_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_array {
	char *name, *memory, *run_dir, *state_dir, *memory_dir, *admin_group, *log_level;
	unsigned watchdog; /* seconds */
	char *watchdog_restart;
};

struct config_iscsi {
	unsigned max_connections;
	unsigned login_timeout, nop_interval, nop_timeout, data_timeout, logout_time; /* s */
	char **chap;
	unsigned chap_count;
};

/* A route between a controller and its partner. Its ends are paths of unix sockets (an absolute
 * path) or ADDRESS:PORT, both of one kind. */
struct config_link {
	char *path; /* control or data */
	char *local, *remote;
};

struct config_controller {
	char *name;
	char *cache; /* as written */
	uint64_t cache_bytes;
	unsigned reactors;
	int *pin;
	unsigned pin_count;
	char *io;
	unsigned poll_us;
	unsigned disk_timeout; /* s */
	char **disks;
	unsigned disks_count;
	char **portals;
	unsigned portals_count;
	struct config_iscsi iscsi;
	char *partner; /* NULL: none; then the rest says nothing */
	struct config_link *links;
	unsigned links_count;
	char *link_psk, *link_cert, *link_key, *link_ca; /* NULL: not given */
	unsigned link_heartbeat_ms, link_dead_ms;
	unsigned mirror_share; /* per cent */
	char *lone, *give_back;
	unsigned give_back_delay; /* seconds */
};

struct config_head {
	char *name, *group, *controller, *address;
	char *address_script; /* "": none */
	char *advertise;      /* where clients of other heads are sent; "": address */
	unsigned nfs_port, mount_port, lock_grace, max_connections;
	unsigned head_lease; /* s; 0: none */
	char *nfs4, *nfs4_domain, *nfs4_delegations, *durable_state, *rpcbind, *metadata_memory,
	    *user;
	char *keytab, *principal;	   /* of Kerberos; "": none */
	char *tls_cert, *tls_key, *tls_ca; /* of RPC over TLS; "": none */
	char *tls_mutual;		   /* on or off */
	char *groups;			   /* client or server */
	unsigned groups_time;		   /* s a user's groups are kept */
	uint64_t metadata_memory_bytes;
	int *pin;
	unsigned pin_count;
};

struct config_file {
	struct config_array array;
	struct config_controller *controllers;
	unsigned controllers_count;
	struct config_head *heads;
	unsigned heads_count;
};

/*
 * Reads, checks schema, values and references, fills defaults. On failure say() gets one line for
 * each problem, as `FILE:LINE: problem; remedy`. 0 or -ERR_CONFIG, -errno for the file.
 */
int config_file_load(struct config_file **ret, const char *path,
		     void (*say)(void *arg, const char *line), void *arg);
void config_file_free(struct config_file *c);

const struct config_controller *config_controller(const struct config_file *c, const char *name);
const struct config_head *config_head(const struct config_file *c, const char *name);
/* NULL: it has none. */
const struct config_controller *config_partner(const struct config_file *f,
					       const struct config_controller *c);
bool config_link_unix(const struct config_link *k); /* else TCP */
bool config_lone_write_through(const struct config_controller *c);
bool config_give_back(const struct config_controller *c);
bool config_battery(const struct config_file *c);
bool config_head_groups(const struct config_head *h); /* looked up by the server */
bool config_head_tls_mutual(const struct config_head *h);
#define CONFIG_WHY_LEN 1024
/* Is there a keytab where the configuration says? 0, or -errno with a sentence that names the
 * remedy. A head serves without Kerberos until there is: loading a configuration does not look. */
int config_keytab_look(const struct config_head *h, char why[CONFIG_WHY_LEN]);
bool config_watchdog_restart(const struct config_file *c);

/* Paths every process agrees on, made from run_dir and memory_dir; ret is at least 108 bytes
 * (a unix socket's limit; config_file_load() refuses run_dirs too long for it). */
void config_path_supervisor(const struct config_file *c, char *ret); /* isthmusd.sock */
void config_path_admin(const struct config_file *c, const char *kind, const char *name,
		       char *ret); /* controller-a.sock */
void config_path_channel(const struct config_file *c, const char *controller, char *ret);
void config_path_beat(const struct config_file *c, const char *head, char *ret);
void config_path_segment(const struct config_file *c, const char *controller, char *ret);
/* Control memory of the host's controllers that have partners. */
void config_path_control(const struct config_file *c, char *ret);

#endif
