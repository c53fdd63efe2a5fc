/* The table of nouns and verbs (admin/verbs.h). */
#include "admin/verbs.h"
#include <string.h>

#define END                                                                                        \
	{                                                                                          \
		NULL, 0, NULL                                                                      \
	}
#define POS	(ADMIN_POSITIONAL | ADMIN_REQUIRED)
#define POS_OPT ADMIN_POSITIONAL
#define REQ	ADMIN_REQUIRED

static const struct admin_arg no_args[] = {END};

static const struct admin_arg name_only[] = {
    {"name", POS, "its name"},
    END,
};
static const struct admin_arg name_force[] = {
    {"name", POS, "its name"},
    {"force", ADMIN_FLAG, "also when it is not empty; what it holds is lost"},
    END,
};

/* ---- config ---- */

static const struct admin_arg config_check_args[] = {
    {"file", POS_OPT, "the configuration file (default: the --config file)"},
    END,
};

/* ---- disk, pool, volume ---- */

static const struct admin_arg disk_list_args[] = {
    {"pool", 0, "only disks of this pool"},
    END,
};
static const struct admin_arg disk_wipe_args[] = {
    {"disk", POS, "path of a configured disk"},
    {"force", ADMIN_FLAG, "also when its label says it belongs to another array or pool"},
    END,
};
static const struct admin_arg disk_spare_args[] = {
    {"disk", POS, "path of a configured disk that is blank or free"},
    {"remove", ADMIN_FLAG, "it is no spare any more"},
    END,
};
static const struct admin_arg pool_replace_args[] = {
    {"name", POS, "name of the pool"},
    {"disk", POS, "the disk that failed or is missing, by the path the pool last saw"},
    {"new", POS_OPT, "the disk that takes its place (default: the same one, filled anew)"},
    {"force", ADMIN_FLAG, "also when the disk is in use: it is taken out first"},
    END,
};
static const struct admin_arg pool_set_args[] = {
    {"name", POS, "name of the pool"},
    {"rebuild-rate", ADMIN_SIZE,
     "bytes a second that rebuild and resync take while the pool is in use; 0: what is left over"},
    {"stripe-log", 0,
     "raid5, raid6: degraded (rows that lack a disk are logged before they are written) or always"},
    END,
};
static const struct admin_arg pool_create_args[] = {
    {"name", POS, "name of the new pool"},
    {"disk", POS | ADMIN_LIST, "paths of configured blank disks, in order"},
    {"level", REQ, "single, raid0, raid1, raid10, raid5 or raid6"},
    {"chunk", ADMIN_SIZE, "stripe chunk (default 64KiB)"},
    {"checksums", 0, "on: a checksum of each page finds disks that give wrong data (default: off)"},
    {"owner", 0, "controller that is to have it (default: the one with fewer pools)"},
    END,
};
static const struct admin_arg pool_grow_args[] = {
    {"name", POS, "name of the pool"},
    {"disk", POS | ADMIN_LIST,
     "paths of configured blank disks, in order: as many as the pool was made of"},
    END,
};
static const struct admin_arg pool_move_args[] = {
    {"name", POS, "name of the pool"},
    {"to", POS, "controller that is to own it"},
    {"force", ADMIN_FLAG, "its owner is dead and has data in its memory alone: that is given up"},
    END,
};
static const struct admin_arg volume_create_args[] = {
    {"name", POS, "name of the new volume"},
    {"pool", REQ, "pool it is cut from"},
    {"size", REQ | ADMIN_SIZE, "its size: 10G, 512MiB"},
    END,
};
static const struct admin_arg volume_list_args[] = {
    {"pool", 0, "only volumes of this pool"},
    END,
};
static const struct admin_arg volume_resize_args[] = {
    {"name", POS, "its name"},
    {"size", POS | ADMIN_SIZE, "the new size; a volume only grows"},
    END,
};

/* ---- target, lun, initiator, session ---- */

static const struct admin_arg target_create_args[] = {
    {"iqn", POS, "iSCSI name of the target: iqn.2026-01.org.example:disk"},
    {"open", 0, "yes: any initiator may log in; no (default): only those added"},
    {"discovery", 0, "yes: every initiator sees the name; no (default): only those admitted"},
    {"chap-user", 0, "user name initiators must show"},
    {"chap-secret", ADMIN_SECRET, "their secret, 12 to 255 bytes; @FILE reads a file, - asks"},
    {"mutual-user", 0, "user name the target shows in return (mutual CHAP)"},
    {"mutual-secret", ADMIN_SECRET, "the target's secret; @FILE reads a file, - asks"},
    {"portal-group", ADMIN_LIST, "tags of the portal groups it is reached through (default: all)"},
    {"redirect", 0, "ADDRESS[:PORT] logins are sent to instead"},
    {"redirect-permanent", 0, "yes: for good; no (default): for the time being"},
    END,
};
static const struct admin_arg target_set_args[] = {
    {"iqn", POS, "iSCSI name of the target"},
    {"open", 0, "yes or no: may any initiator log in"},
    {"discovery", 0, "yes or no: does every initiator see the name"},
    {"chap-user", 0, "user name initiators must show; an empty one ends CHAP"},
    {"chap-secret", ADMIN_SECRET, "their secret, 12 to 255 bytes; @FILE reads a file, - asks"},
    {"mutual-user", 0, "user name the target shows in return; an empty one ends mutual CHAP"},
    {"mutual-secret", ADMIN_SECRET, "the target's secret; @FILE reads a file, - asks"},
    {"portal-group", ADMIN_LIST, "tags of the portal groups it is reached through; or all"},
    {"redirect", 0, "ADDRESS[:PORT] logins are sent to instead; an empty one ends that"},
    {"redirect-permanent", 0, "yes: for good; no: for the time being"},
    END,
};
static const struct admin_arg target_remove_args[] = {
    {"iqn", POS, "iSCSI name of the target"},
    {"force", ADMIN_FLAG, "also while initiators are logged in: their sessions end"},
    END,
};
static const struct admin_arg lun_add_args[] = {
    {"target", POS, "iSCSI name of the target"},
    {"volume", POS, "the volume to show"},
    {"lun", ADMIN_NUMBER, "its number (default: the lowest free one)"},
    {"read-only", ADMIN_FLAG, "refuse writes"},
    {"serial", 0, "serial number to report (default: made from the volume's identity)"},
    {"block-size", ADMIN_SIZE, "512 (default) or 4096"},
    {"physical-size", ADMIN_SIZE,
     "bytes of a physical block as told to initiators: 4096 (default), or from the block size up"},
    {"removable", ADMIN_FLAG, "a medium that initiators can eject, load and keep from ejection"},
    {"no-unmap", ADMIN_FLAG, "without UNMAP: as a disk that is not thin"},
    END,
};
static const struct admin_arg lun_set_args[] = {
    {"target", POS, "iSCSI name of the target"},
    {"lun", POS | ADMIN_NUMBER, "number of the LUN"},
    {"read-only", 0, "yes or no: refuse writes, through this target"},
    {"iops", ADMIN_NUMBER, "operations a second at most, over all initiators; 0: no limit"},
    {"iops-burst", ADMIN_NUMBER, "operations at once after a pause (0: a tenth of a second's)"},
    {"bandwidth", ADMIN_SIZE, "bytes a second at most, over all initiators; 0: no limit"},
    {"bandwidth-burst", ADMIN_SIZE, "bytes at once after a pause (0: a tenth of a second's)"},
    END,
};
static const struct admin_arg by_target_args[] = {
    {"target", 0, "only of this target"},
    END,
};
static const struct admin_arg discovery_set_args[] = {
    {"chap-user", 0, "user name initiators must show; an empty one ends CHAP"},
    {"chap-secret", ADMIN_SECRET, "their secret, 12 to 255 bytes; @FILE reads a file, - asks"},
    {"mutual-user", 0, "user name the array shows in return; an empty one ends mutual CHAP"},
    {"mutual-secret", ADMIN_SECRET, "the array's secret; @FILE reads a file, - asks"},
    END,
};
static const struct admin_arg session_logout_args[] = {
    {"target", 0, "sessions of this target"},
    {"initiator", 0, "sessions of this initiator"},
    {"all", ADMIN_FLAG, "all sessions"},
    {"wait", ADMIN_NUMBER,
     "seconds until those that have not logged out are dropped (default 10; 0: at once)"},
    END,
};
static const struct admin_arg one_lun_args[] = {
    {"target", POS, "iSCSI name of the target"},
    {"lun", POS | ADMIN_NUMBER, "number of the LUN"},
    END,
};
static const struct admin_arg initiator_args[] = {
    {"target", POS, "iSCSI name of the target"},
    {"iqn", POS, "iSCSI name of the initiator"},
    {"lun", ADMIN_LIST, "LUNs it sees, as N, SEEN=N or SEEN=N:ro (default: all of the target's)"},
    {"chap-user", 0, "user name this initiator must show, instead of the target's"},
    {"chap-secret", ADMIN_SECRET, "its secret, 12 to 255 bytes; @FILE reads a file, - asks"},
    END,
};
static const struct admin_arg initiator_remove_args[] = {
    {"target", POS, "iSCSI name of the target"},
    {"iqn", POS, "iSCSI name of the initiator"},
    END,
};

/* ---- fs, export ---- */

static const struct admin_arg fs_create_args[] = {
    {"name", POS, "name of the new file system"},
    {"pool", 0, "pool to cut its volume from (with --size)"},
    {"size", ADMIN_SIZE, "size of its volume"},
    {"volume", 0, "an existing unused volume instead of --pool and --size"},
    {"head", 0, "the head that serves it (default: the only one, or the least busy)"},
    END,
};
static const struct admin_arg fs_grow_args[] = {
    {"name", POS, "the file system"},
    {"size", REQ | ADMIN_SIZE, "its new size; it only grows"},
    END,
};
static const struct admin_arg fs_check_args[] = {
    {"name", POS_OPT, "the file system; its head verifies it while it stays mounted"},
    {"device", 0, "check this file or block device instead, unmounted, in this process"},
    {"repair", ADMIN_FLAG, "with --device: write what can be repaired"},
    END,
};
static const struct admin_arg fs_dump_args[] = {
    {"what", POS, "super, journal, groups, inodes, trees, all, inode=N or block=N"},
    {"device", REQ, "the file or block device it is on; nobody may have it mounted"},
    {"lines", ADMIN_NUMBER, "print at most this many lines (default: 100000)"},
    END,
};
static const struct admin_arg fs_verify_args[] = {
    {"name", POS, "the file system"},
    END,
};
static const struct admin_arg quota_list_args[] = {
    {"fs", POS, "the file system"},
    {"kind", 0, "only those of user, group or tree"},
    END,
};
static const struct admin_arg quota_set_args[] = {
    {"fs", POS, "the file system"},
    {"user", ADMIN_NUMBER, "whose: number of an owner"},
    {"group", ADMIN_NUMBER, "or of a group"},
    {"tree", ADMIN_NUMBER, "or of a directory tree, as quota list shows it"},
    {"soft", ADMIN_SIZE, "bytes that may be passed for the grace time; 0: no limit"},
    {"hard", ADMIN_SIZE, "bytes that are never passed; 0: no limit"},
    {"soft-files", ADMIN_NUMBER, "files and directories that may be passed for the grace time"},
    {"hard-files", ADMIN_NUMBER, "files and directories that are never passed"},
    END,
};
static const struct admin_arg quota_grace_args[] = {
    {"fs", POS, "the file system"},
    {"kind", 0, "only of user, group or tree"},
    {"bytes", 0, "how long a soft limit of bytes may be passed: 90s, 15m, 2h, 7d"},
    {"files", 0, "how long one of files may be"},
    END,
};
static const struct admin_arg quota_tree_args[] = {
    {"fs", POS, "the file system"},
    {"path", POS, "an empty directory, from the root of the file system: /home/alice"},
    END,
};
static const struct admin_arg export_add_args[] = {
    {"path", POS, "path clients mount: /demo"},
    {"fs", REQ, "the file system"},
    {"subdir", 0, "directory inside it (default /)"},
    {"client", ADMIN_LIST | ADMIN_WHOLE,
     "who may: '10.0.0.0/8:rw,root_squash'; first match counts (default '*:rw,root_squash')"},
    {"sec", 0,
     "flavours of rules that name none, the preferred first: krb5p:krb5i:krb5 (default sys)"},
    END,
};
static const struct admin_arg export_set_args[] = {
    {"path", POS, "path clients mount"},
    {"subdir", 0, "directory inside the file system"},
    {"client", ADMIN_LIST | ADMIN_WHOLE, "who may: replaces all rules; see export add"},
    {"sec", 0, "flavours: of new rules that name none, without --client of all rules there are"},
    END,
};
static const struct admin_arg export_list_args[] = {
    {"fs", 0, "only of this file system"},
    END,
};
static const struct admin_arg path_only[] = {
    {"path", POS, "path clients mount"},
    END,
};

/* ---- head, group, backup ---- */

static const struct admin_arg head_move_args[] = {
    {"service", POS, "the service"},
    {"head", POS, "the head that is to run it"},
    END,
};
static const struct admin_arg head_return_args[] = {
    {"service", POS, "the service"},
    END,
};
static const struct admin_arg head_balance_args[] = {
    {"group", 0, "only of this group"},
    END,
};
static const struct admin_arg head_only_args[] = {
    {"head", POS, "the head"},
    END,
};
static const struct admin_arg head_state_args[] = {
    {"head", POS_OPT, "ask this head (default: any that is up)"},
    {"records", ADMIN_FLAG, "what heads keep of their clients, too: sessions, opens, locks"},
    END,
};
static const struct admin_arg head_status_args[] = {
    {"head", POS_OPT, "ask this head (default: any that is up)"},
    END,
};
static const struct admin_arg head_locks_args[] = {
    {"head", POS_OPT, "ask this head (default: the only one)"},
    {"client", 0, "only of this client, by name or address"},
    END,
};
static const struct admin_arg software_install_args[] = {
    {"file", POS, "the program: an isthmus-head"},
    {"name", 0, "name of the version (default: the build that the program states)"},
    {"pool", 0, "the first time: pool for the software volume (default: one that has room)"},
    END,
};
static const struct admin_arg software_version_args[] = {
    {"version", POS, "name of the version; installed: the program of the installed package"},
    END,
};
static const struct admin_arg software_remove_args[] = {
    {"version", POS_OPT, "name of the version"},
    {"volume", ADMIN_FLAG, "the whole volume, while heads run the installed program"},
    {"force", ADMIN_FLAG, "also when its table cannot be read any more"},
    END,
};
static const struct admin_arg software_activate_args[] = {
    {"version", POS, "name of the version; installed: the program of the installed package"},
    {"head", 0, "at this head alone (default: at all, one after the other)"},
    {"wait", ADMIN_NUMBER, "seconds that a head is given to serve (default 15)"},
    {"one-way", ADMIN_FLAG, "also when its formats leave no way back: it stops where it fails"},
    END,
};
static const struct admin_arg software_rollback_args[] = {
    {"head", 0, "this head alone: to what all run, or to the version before"},
    {"wait", ADMIN_NUMBER, "seconds that a head is given to serve (default 15)"},
    END,
};
static const struct admin_arg software_step_args[] = {
    {"do", REQ, "begin, assign, back or finish"},
    {"version", 0, "that is to be activated"},
    {"head", 0, "whose turn it is"},
    {"heads", ADMIN_LIST, "all that there are"},
    {"one-way", ADMIN_FLAG, "it does not go back"},
    END,
};
static const struct admin_arg group_create_args[] = {
    {"name", POS, "name of the new head group"},
    {"pool", REQ, "pool for the processor-information volume"},
    {"backup-pool", 0, "pool for its backup (default: the same; another is safer)"},
    {"size", ADMIN_SIZE,
     "size of each of the two volumes (default 128MiB to 1GiB, by the room in the pool)"},
    END,
};
static const struct admin_arg backup_run_args[] = {
    {"group", POS_OPT, "head group whose state is copied (default: the only one)"},
    {"all", ADMIN_FLAG, "of all groups"},
    {"head", 0, "let this head give the order, over its channel"},
    END,
};
static const struct admin_arg backup_policy_args[] = {
    {"group", POS_OPT, "head group (default: all to show, the only one to set)"},
    {"interval", 0, "its heads order a backup this long after the last: 90s, 15m, 2h, 1d"},
    {"manual", ADMIN_FLAG, "they order none; backups are made by `backup run`"},
    {"load", ADMIN_FLAG,
     "as soon as the disks are nearly idle, at the interval's end all the same"},
    {"continuous", ADMIN_FLAG, "heads write the backup along before they answer"},
    {"all", ADMIN_FLAG, "set it for all groups"},
    END,
};
static const struct admin_arg backup_restore_args[] = {
    {"group", POS_OPT, "head group (default: the only one)"},
    {"pool", 0, "pool for the new volume (default: another than the old one's, if one has room)"},
    END,
};
static const struct admin_arg backup_group_args[] = {
    {"group", POS_OPT, "only this head group (default: all)"},
    END,
};

/* ---- event, top, completion ---- */

static const struct admin_arg event_list_args[] = {
    {"count", ADMIN_NUMBER, "how many of the newest (default 50)"},
    {"follow", ADMIN_FLAG, "go on showing new ones as they come"},
    {"after", ADMIN_NUMBER, "only those after this time (nanoseconds since 1970)"},
    END,
};
static const struct admin_arg top_args[] = {
    {"interval", ADMIN_NUMBER, "seconds between two looks (default 1)"},
    {"count", ADMIN_NUMBER, "how many looks, then end (default: until interrupted)"},
    {"once", ADMIN_FLAG, "one look over one interval, then end"},
    END,
};
static const struct admin_arg completion_args[] = {
    {"shell", POS, "bash"},
    END,
};

const struct noun noun_table[] = {
    {"status", "the whole array at a glance"},
    {"config", "the configuration file"},
    {"controller", "the controllers and what is between them"},
    {"disk", "the disks"},
    {"pool", "RAID groups of disks that volumes are cut from"},
    {"volume", "logical units"},
    {"target", "iSCSI targets"},
    {"lun", "volumes as initiators see them through a target"},
    {"initiator", "which initiator may use which LUNs"},
    {"session", "iSCSI sessions"},
    {"discovery", "who may have targets listed"},
    {"fs", "file systems"},
    {"quota", "what owners, groups and directory trees use of a file system, and may"},
    {"export", "what NFS clients may mount"},
    {"head", "NAS heads"},
    {"group", "groups of heads that share running state"},
    {"backup", "backups of a head group's running state"},
    {"software", "versions of the head program"},
    {"event", "what happened"},
    {"top", "what is busy, refreshed"},
    {"completion", "shell completion"},
    {"version", "the version of this program"},
    {NULL, NULL},
};

const struct verb verb_table[] = {
    {"status", VERB_SUPERVISOR, 0, no_args,
     "show processes, promises, pools, volumes, heads, exports and what is wrong", NULL},
    {"config.check", VERB_LOCAL, 0, config_check_args,
     "check a configuration file; nothing is changed", NULL},
    {"config.show", VERB_SUPERVISOR, 0, no_args, "show the configuration in force, with defaults",
     NULL},

    {"controller.list", VERB_SUPERVISOR, 0, no_args,
     "list controllers with state, partner, mirroring, pools and cache", NULL},
    {"controller.show", VERB_SUPERVISOR, 0, name_only,
     "show one controller and the routes to its partner", NULL},

    {"disk.list", VERB_CONTROLLER, 0, disk_list_args, "list disks with state, pool and counters",
     NULL},
    {"disk.wipe", VERB_CONTROLLER, 0, disk_wipe_args, "remove the label from a disk of no pool",
     NULL},
    {"disk.spare", VERB_CONTROLLER, 0, disk_spare_args,
     "keep a disk ready to take the place of one that a pool loses", NULL},
    {"pool.create", VERB_CONTROLLER, VERB_LONG, pool_create_args, "make a pool of blank disks",
     NULL},
    {"pool.list", VERB_CONTROLLER, 0, no_args, "list pools with state, size and free space", NULL},
    {"pool.show", VERB_CONTROLLER, 0, name_only, "show one pool and its disks", NULL},
    {"pool.set", VERB_CONTROLLER, 0, pool_set_args, "change a pool", NULL},
    {"pool.move", VERB_CONTROLLER, VERB_LONG, pool_move_args,
     "give a pool and its volumes to a controller while they are in use", NULL},
    {"pool.grow", VERB_CONTROLLER, VERB_LONG, pool_grow_args,
     "add a further RAID group of disks to a pool while it is in use", NULL},
    {"pool.replace", VERB_CONTROLLER, VERB_LONG, pool_replace_args,
     "fill a disk in place of one that was lost", NULL},
    {"pool.scrub", VERB_CONTROLLER, 0, name_only,
     "read all of a pool in the background and make right what is bad or differs", NULL},
    {"pool.remove", VERB_CONTROLLER, 0, name_only, "remove an empty pool; its disks become blank",
     NULL},
    {"volume.create", VERB_CONTROLLER, VERB_LONG, volume_create_args, "make a volume", NULL},
    {"volume.list", VERB_CONTROLLER, 0, volume_list_args, "list volumes", NULL},
    {"volume.show", VERB_CONTROLLER, 0, name_only, "show one volume, its users and counters", NULL},
    {"volume.resize", VERB_CONTROLLER, 0, volume_resize_args, "grow a volume while it is in use",
     NULL},
    {"volume.remove", VERB_CONTROLLER, 0, name_only,
     "remove a volume that no LUN or file system uses; its data is lost", NULL},

    {"target.create", VERB_CONTROLLER, 0, target_create_args, "make an iSCSI target", NULL},
    {"target.list", VERB_CONTROLLER, 0, no_args, "list targets", NULL},
    {"target.set", VERB_CONTROLLER, 0, target_set_args, "change who may log in to a target", NULL},
    {"target.remove", VERB_CONTROLLER, 0, target_remove_args, "remove a target and its LUNs", NULL},
    {"lun.add", VERB_CONTROLLER, 0, lun_add_args, "show a volume through a target", NULL},
    {"lun.list", VERB_CONTROLLER, 0, by_target_args, "list LUNs", NULL},
    {"lun.set", VERB_CONTROLLER, 0, lun_set_args,
     "change a LUN while it is in use: read-only, limits of its volume", NULL},
    {"lun.stats", VERB_CONTROLLER, 0, by_target_args,
     "show operations, bytes and latency of LUNs and initiators since the controller started",
     NULL},
    {"lun.latency", VERB_CONTROLLER, 0, one_lun_args,
     "explain where a LUN's time goes: stages of its commands, from a sample", NULL},
    {"lun.reservations", VERB_CONTROLLER, 0, one_lun_args,
     "show who has reserved a LUN, and the reservation keys", NULL},
    {"lun.release", VERB_CONTROLLER, 0, one_lun_args,
     "drop all reservations and keys of a LUN by force; initiators are told", NULL},
    {"lun.remove", VERB_CONTROLLER, 0, one_lun_args, "take a LUN away; the volume stays", NULL},
    {"initiator.add", VERB_CONTROLLER, 0, initiator_args, "admit an initiator to a target", NULL},
    {"initiator.list", VERB_CONTROLLER, 0, by_target_args, "list admitted initiators", NULL},
    {"initiator.set", VERB_CONTROLLER, 0, initiator_args, "change what an initiator sees", NULL},
    {"initiator.remove", VERB_CONTROLLER, 0, initiator_remove_args,
     "no longer admit an initiator; its session ends", NULL},
    {"discovery.set", VERB_CONTROLLER, 0, discovery_set_args,
     "ask for CHAP before targets are listed", NULL},
    {"discovery.show", VERB_CONTROLLER, 0, no_args, "show the users of discovery", NULL},
    {"session.list", VERB_CONTROLLER, 0, by_target_args, "list iSCSI sessions", NULL},
    {"session.logout", VERB_CONTROLLER, 0, session_logout_args,
     "ask initiators to log out, and drop those that do not; they may log in again", NULL},

    {"fs.create", VERB_CONTROLLER, VERB_LONG, fs_create_args, "make a file system", NULL},
    {"fs.list", VERB_CONTROLLER, 0, no_args, "list file systems, who serves them, and their state",
     NULL},
    {"fs.grow", VERB_CONTROLLER, 0, fs_grow_args,
     "grow a file system and its volume while it is in use", NULL},
    {"fs.remove", VERB_CONTROLLER, 0, name_force, "remove a file system; its files are lost", NULL},
    {"fs.check", VERB_SUPERVISOR, VERB_LONG, fs_check_args, "verify a file system", NULL},
    {"fs.dump", VERB_LOCAL, 0, fs_dump_args,
     "print structures of an unmounted file system for debugging", NULL},
    {"fs.verify", VERB_HEAD, VERB_LONG | VERB_HIDDEN, fs_verify_args,
     "verify a mounted file system in its head", NULL},
    {"quota.list", VERB_SUPERVISOR, 0, quota_list_args, "list what is used, with its limits", NULL},
    {"quota.set", VERB_SUPERVISOR, 0, quota_set_args,
     "set or remove limits of one owner, group or tree", NULL},
    {"quota.grace", VERB_SUPERVISOR, 0, quota_grace_args,
     "show or set how long soft limits may be passed (default: 7 days)", NULL},
    {"quota.tree", VERB_SUPERVISOR, 0, quota_tree_args,
     "count and limit a directory with all that is made below it", NULL},
    {"export.add", VERB_CONTROLLER, 0, export_add_args, "let clients mount a file system", NULL},
    {"export.list", VERB_CONTROLLER, 0, export_list_args, "list exports and their clients' rules",
     NULL},
    {"export.set", VERB_CONTROLLER, 0, export_set_args, "change an export", NULL},
    {"export.remove", VERB_CONTROLLER, 0, path_only, "remove an export; files stay", NULL},

    {"head.list", VERB_SUPERVISOR, 0, no_args,
     "list services and where they run, heads, and their channels to the controllers", NULL},
    {"head.move", VERB_SUPERVISOR, VERB_LONG, head_move_args,
     "let a service run at another head of its group; clients wait a moment and go on", NULL},
    {"head.return", VERB_SUPERVISOR, VERB_LONG, head_return_args,
     "let a service run at its own head again", NULL},
    {"head.balance", VERB_SUPERVISOR, VERB_LONG, head_balance_args,
     "let services run at their own heads, and spread those that cannot", NULL},
    {"head.disable", VERB_SUPERVISOR, VERB_LONG, head_only_args,
     "free a head for maintenance: its services go to the others of its group", NULL},
    {"head.enable", VERB_SUPERVISOR, VERB_LONG, head_only_args,
     "let a head take services again; its own returns", NULL},
    {"head.restart", VERB_SUPERVISOR, VERB_LONG, name_only,
     "replace the process of a head by a new one; clients wait a moment and go on", NULL},
    {"head.fence", VERB_CONTROLLER, 0, name_only,
     "let the process of a head write nothing more, whatever it does; it ends, and a new one "
     "starts",
     NULL},
    {"head.state", VERB_HEAD, 0, head_state_args,
     "show the running state of the group, read from its volume", "head"},
    {"head.status", VERB_HEAD, 0, head_status_args,
     "show what a head serves: exports, clients and operations with their latency", "head"},
    {"head.locks", VERB_HEAD, 0, head_locks_args,
     "show the locks that NFS clients hold and the files they are lent, by client", "head"},
    {"group.create", VERB_CONTROLLER, VERB_LONG, group_create_args,
     "make a head group with its processor-information volume and its backup", NULL},
    {"group.list", VERB_CONTROLLER, 0, no_args, "list head groups", NULL},
    {"group.remove", VERB_CONTROLLER, 0, name_only, "remove a head group that serves nothing",
     NULL},
    {"software.install", VERB_CONTROLLER, VERB_LONG, software_install_args,
     "put a version of the head program on the software volume", NULL},
    {"software.list", VERB_SUPERVISOR, 0, no_args,
     "list versions of the head program, and which each head runs", NULL},
    {"software.show", VERB_CONTROLLER, 0, software_version_args,
     "show a version and the formats it reads and writes", NULL},
    {"software.activate", VERB_SUPERVISOR, VERB_LONG, software_activate_args,
     "replace the heads' programs by a version, one head after the other", NULL},
    {"software.rollback", VERB_SUPERVISOR, VERB_LONG, software_rollback_args,
     "go back to the version before", NULL},
    {"software.remove", VERB_CONTROLLER, 0, software_remove_args,
     "remove a version that no head uses, or the software volume", NULL},
    {"software.step", VERB_CONTROLLER, VERB_HIDDEN, software_step_args,
     "carry out a step of an activation", NULL},
    {"backup.run", VERB_CONTROLLER, VERB_LONG, backup_run_args,
     "copy what changed of the running state to its backup", "head"},
    {"backup.list", VERB_CONTROLLER, 0, backup_group_args, "list backups with time and bytes",
     NULL},
    {"backup.status", VERB_CONTROLLER, 0, backup_group_args, "show backups under way", NULL},
    {"backup.policy", VERB_CONTROLLER, 0, backup_policy_args,
     "show or set when backups are made (default: every hour)", NULL},
    {"backup.restore", VERB_CONTROLLER, VERB_LONG, backup_restore_args,
     "make a new processor-information volume, which heads fill from the backup", NULL},
    {"backup.verify", VERB_CONTROLLER, VERB_LONG, backup_group_args,
     "read backups and compare their checksums", NULL},

    {"event.list", VERB_SUPERVISOR, VERB_REPEAT, event_list_args, "list events of all processes",
     NULL},
    {"top", VERB_SUPERVISOR, VERB_REPEAT, top_args,
     "show rates and latency of LUNs, initiators, volumes and heads", NULL},
    {"completion", VERB_LOCAL, 0, completion_args, "print the completion script of a shell", NULL},
    {"version", VERB_LOCAL, 0, no_args, "print the version", NULL},

    /* Answered by every daemon's admin server or its modules; isthmusd gathers them. */
    {"ping", VERB_SUPERVISOR, VERB_HIDDEN, no_args, "answer when in service", NULL},
    {"stats", VERB_CONTROLLER, VERB_HIDDEN, no_args, "counters of this process, for top", NULL},
    {NULL, VERB_LOCAL, 0, NULL, NULL, NULL},
};

bool verb_of_noun(const struct verb *v, const char *noun)
{
	size_t n = strlen(noun);
	return strncmp(v->name, noun, n) == 0 && (v->name[n] == '.' || v->name[n] == '\0');
}

const char *verb_word(const struct verb *v)
{
	const char *dot = strchr(v->name, '.');
	return dot ? dot + 1 : "";
}

const struct verb *verb_find_name(const char *name)
{
	for (const struct verb *v = verb_table; v->name; v++)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

const struct verb *verb_find(const char *noun, const char *verb)
{
	for (const struct verb *v = verb_table; v->name; v++)
		if (verb_of_noun(v, noun) && strcmp(verb_word(v), verb ? verb : "") == 0)
			return v;
	return NULL;
}

const struct noun *noun_find(const char *name)
{
	for (const struct noun *n = noun_table; n->name; n++)
		if (strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

const struct admin_arg *verb_arg(const struct verb *v, const char *name)
{
	for (const struct admin_arg *a = v->args; a->name; a++)
		if (strcmp(a->name, name) == 0)
			return a;
	return NULL;
}
