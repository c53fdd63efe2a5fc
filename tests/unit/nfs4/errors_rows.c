/* Handles, names and attributes. */
#include "tests/unit/nfs4/errors_rows.h"
#include "runtime/check.h"

#define ALL V40_UP

/* ---- clients and sessions ---- */

static const struct v4_row_test sessions[] = {
    {V41_UP, "bare EXCHANGE_ID q1 'fresh' 0 0 0", "OK"},
    {V41_UP, "EXCHANGE_ID q1 'fresh' 0 0 0", "OK"}, /* in a session too */
    {V41_UP, "early bare EXCHANGE_ID q1 'fresh' 0 0 0; PUTROOTFH", "NOT_ONLY_OP"},
    {V41_UP, "bare EXCHANGE_ID q1 '' 0 0 0", "INVAL"},
    {V41_UP, "bare EXCHANGE_ID q1 'fresh' 8 0 0", "INVAL"},	      /* a flag of nobody's */
    {V41_UP, "bare EXCHANGE_ID q1 'fresh' 0 1 0", "INVAL"},	      /* SP4_MACH_CRED */
    {V41_UP, "bare EXCHANGE_ID q1 'fresh' 0 2 0", "ENCR_ALG_UNSUPP"}, /* SP4_SSV */
    {V41_UP, "bare EXCHANGE_ID q1 'fresh' 0 3 0", "BADXDR"},
    {V41_UP, "bare EXCHANGE_ID q1 %1025 0 0 0", "BADXDR"},
    {V41_UP, "bare EXCHANGE_ID q1 'nobody' 0x40000000 0 0", "NOENT"},
    {V41_UP, "bare EXCHANGE_ID q2 'client a' 0x40000000 0 0", "NOT_SAME"},
    {V41_UP, "uid=8 bare EXCHANGE_ID q1 'client a' 0x40000000 0 0", "PERM"},
    {V41_UP, "uid=8 bare EXCHANGE_ID q1 'client a' 0 0 0", "CLID_INUSE"},
    {V41_UP, "bare CREATE_SESSION q77 1 0 " CHANNELS, "STALE_CLIENTID"},
    {V41_UP, "bare CREATE_SESSION &a 77 0 " CHANNELS, "SEQ_MISORDERED"},
    {V41_UP, "bare CREATE_SESSION &a ! 8 " CHANNELS, "INVAL"},
    {V41_UP, "uid=8 bare CREATE_SESSION &a ! 0 " CHANNELS, "CLID_INUSE"},
    {V41_UP, "bare CREATE_SESSION &a ! 0 0 100 100 0 1 1 0 0 4096 4096 0 2 1 0 0x40000000 1 0",
     "TOOSMALL"},
    {V41_UP, "early bare CREATE_SESSION &a ! 0 " CHANNELS "; PUTROOTFH", "NOT_ONLY_OP"},
    {V41_UP, "bare BIND_CONN_TO_SESSION = 1 0", "OK"},
    {V41_UP, "bare BIND_CONN_TO_SESSION = 9 0", "INVAL"},
    {V41_UP, "bare BIND_CONN_TO_SESSION " ZEROS " 1 0", "BADSESSION"},
    {V41_UP, "uid=8 bare BIND_CONN_TO_SESSION = 1 0", "BADSESSION"},
    {V41_UP, "early bare BIND_CONN_TO_SESSION = 1 0; PUTROOTFH", "NOT_ONLY_OP"},
    {V41_UP, "bare DESTROY_SESSION " ZEROS, "BADSESSION"},
    {V41_UP, "uid=8 bare DESTROY_SESSION =", "WRONG_CRED"},
    {V41_UP, "early bare DESTROY_SESSION =; PUTROOTFH", "NOT_ONLY_OP"},
    {V41_UP, "early DESTROY_SESSION =; PUTROOTFH", "NOT_ONLY_OP"}, /* its own: as the last */
    {V41_UP, "bare DESTROY_CLIENTID q77", "STALE_CLIENTID"},
    {V41_UP, "bare DESTROY_CLIENTID &a", "CLIENTID_BUSY"},
    {V41_UP, "uid=8 bare DESTROY_CLIENTID &a", "WRONG_CRED"},
    {V41_UP, "early bare DESTROY_CLIENTID q77; PUTROOTFH", "NOT_ONLY_OP"},
    {V41_UP, "BACKCHANNEL_CTL 0x40000000 1 0", "OK"},
    {V41_UP, "BACKCHANNEL_CTL 0x40000000 0", "NOENT"},
    {V41_UP, "uid=8 BACKCHANNEL_CTL 0x40000000 1 0", "INVAL"},
    {V41_UP, "PUTROOTFH; SEQUENCE " ZEROS " 1 0 0 0", "SEQUENCE_POS"},
};
const struct errors_table errors_sessions = {sessions, ARRAY_LEN(sessions)};

/* ---- handles ---- */

static const struct v4_row_test handles[] = {
    {ALL, "PUTFH @file; GETFH", "OK"},
    {ALL, "PUTFH 'short'", "BADHANDLE"},
    {ALL, "PUTFH %129", "BADXDR"}, /* longer than any handle */
    {ALL, "PUTFH @forged", "BADHANDLE"},
    {ALL, "PUTFH @nofs", "STALE"},
    {ALL, "PUTROOTFH; GETFH", "OK"},
    {ALL, "PUTPUBFH; GETFH", "OK"},
    {ALL, "PUTFH @file; SAVEFH; PUTROOTFH; RESTOREFH; GETFH", "OK"},
    {V40, "RESTOREFH", "RESTOREFH"},
    {V41_UP, "RESTOREFH", "NOFILEHANDLE"},
    {ALL, "PUTFH @demo; LOOKUP 'file'", "OK"},
    {ALL, "PUTFH @demo; LOOKUP 'nothing'", "NOENT"},
    {ALL, "PUTFH @demo; LOOKUP ''", "INVAL"},
    {ALL, "PUTFH @demo; LOOKUP '.'", "BADNAME"},
    {ALL, "PUTFH @demo; LOOKUP '..'", "BADNAME"},
    {ALL, "PUTFH @demo; LOOKUP 'a/b'", "BADCHAR"},
    {ALL, "PUTFH @demo; LOOKUP %256", "NAMETOOLONG"},
    {ALL, "PUTFH @demo; LOOKUP 2 #ff000000", "BADCHAR"}, /* a byte that is 0 */
    {ALL, "PUTFH @demo; LOOKUP 2 #fffe0000", "NOENT"},	 /* no UTF-8: names are bytes */
    {ALL, "PUTFH @file; LOOKUP 'x'", "NOTDIR"},
    {ALL, "PUTFH @link; LOOKUP 'x'", "SYMLINK"},
    {ALL, "uid=8 PUTFH @locked; LOOKUP 'x'", "ACCESS"},
    {ALL, "PUTFH @root; LOOKUP 'nothing'", "NOENT"},
    {ALL, "PUTFH @root; LOOKUP 'secret'", "NOENT"},
    {ALL, "PUTFH @dir; LOOKUPP", "OK"},
    {ALL, "PUTFH @root; LOOKUPP", "NOENT"},
    {ALL, "PUTFH @file; LOOKUPP", "NOTDIR"},
    {ALL, "PUTFH @link; LOOKUPP", "SYMLINK"},
    {ALL, "uid=8 PUTFH @locked; LOOKUPP", "ACCESS"},
    {ALL, "PUTFH @demo; SECINFO 'file'", "OK"},
    {ALL, "PUTFH @demo; SECINFO 'nothing'", "NOENT"},
    {ALL, "PUTFH @demo; SECINFO ''", "INVAL"},
    {ALL, "PUTFH @demo; SECINFO '..'", "BADNAME"},
    {ALL, "PUTFH @demo; SECINFO 'a/b'", "BADCHAR"},
    {ALL, "PUTFH @demo; SECINFO %256", "NAMETOOLONG"},
    {ALL, "PUTFH @file; SECINFO 'x'", "NOTDIR"},
    {ALL, "PUTFH @link; SECINFO 'x'", "NOTDIR"}, /* it has no SYMLINK */
    {ALL, "uid=8 PUTFH @locked; SECINFO 'x'", "ACCESS"},
    {V41_UP, "PUTFH @demo; SECINFO 'file'; GETFH", "NOFILEHANDLE"}, /* it is used up */
    {V41_UP, "PUTFH @demo; SECINFO_NO_NAME 0", "OK"},
    {V41_UP, "PUTFH @dir; SECINFO_NO_NAME 1", "OK"},
    {V41_UP, "PUTFH @demo; SECINFO_NO_NAME 2", "BADXDR"},
    {V41_UP, "PUTFH @root; SECINFO_NO_NAME 1", "NOENT"},
    {V41_UP, "PUTFH @link; SECINFO_NO_NAME 1", "NOTDIR"},
    {V41_UP, "uid=8 PUTFH @locked; SECINFO_NO_NAME 1", "ACCESS"},
    {ALL, "PUTFH @demo; X2", "OP_ILLEGAL"},
    {ALL, "PUTFH @demo; X9999", "OP_ILLEGAL"},
    {V40, "PUTFH @demo; X53", "OP_ILLEGAL"}, /* of a later minor version */
    {V40 | V41, "PUTFH @demo; X60", "OP_ILLEGAL"},
    {V41_UP, "RENEW q1", "NOTSUPP"}, /* of an earlier one */
    {V41_UP, "SETCLIENTID", "NOTSUPP"},
    {V41_UP, "SETCLIENTID_CONFIRM", "NOTSUPP"},
    {V41_UP, "OPEN_CONFIRM", "NOTSUPP"},
    {V41_UP, "RELEASE_LOCKOWNER", "NOTSUPP"},
    {ALL, "DELEGPURGE q0", "NOTSUPP"},
    {ALL, "PUTFH @file; OPENATTR 0", "NOTSUPP"},
    {V41_UP, "PUTFH @file; GET_DIR_DELEGATION", "NOTSUPP"},
    {V41_UP, "GETDEVICEINFO", "NOTSUPP"},
    {V41_UP, "GETDEVICELIST", "NOTSUPP"},
    {V41_UP, "LAYOUTGET", "NOTSUPP"},
    {V41_UP, "LAYOUTCOMMIT", "NOTSUPP"},
    {V41_UP, "LAYOUTRETURN", "NOTSUPP"},
    {V42, "LAYOUTERROR", "NOTSUPP"},
    {V42, "LAYOUTSTATS", "NOTSUPP"},
    {V42, "COPY_NOTIFY", "NOTSUPP"},
    {V42, "WRITE_SAME", "NOTSUPP"},
    {V41_UP, "SET_SSV 'x' 'y'", "INVAL"}, /* nobody has asked for it */
};
const struct errors_table errors_handles = {handles, ARRAY_LEN(handles)};

/* ---- names ---- */

#define DIR(name)  "PUTFH @demo; CREATE 2 " name " 0 0"
#define BOTH(a, b) "PUTFH " a "; SAVEFH; PUTFH " b "; "
#define MODE(m)	   " 2 0 2 4 " m
#define OWNER(who) " 2 0 0x10 8 " who

static const struct v4_row_test names[] = {
    {ALL, DIR("'new'"), "OK"},
    {ALL, DIR("'new'"), "EXIST"},
    {ALL, DIR("''"), "INVAL"},
    {ALL, DIR("'.'"), "BADNAME"},
    {ALL, DIR("'a/b'"), "BADCHAR"},
    {ALL, DIR("%256"), "NAMETOOLONG"},
    {ALL, "PUTFH @demo; CREATE 1 'x' 0 0", "BADTYPE"}, /* a file: OPEN makes them */
    {ALL, "PUTFH @demo; CREATE 8 'x' 0 0", "BADTYPE"},
    {ALL, "PUTFH @demo; CREATE 77 'x' 0 0", "BADTYPE"},
    {ALL, "PUTFH @demo; CREATE 5 '' 'x' 0 0", "INVAL"}, /* a link to nothing */
    {ALL, "PUTFH @file; CREATE 2 'x' 0 0", "NOTDIR"},
    {ALL, "PUTFH @link; CREATE 2 'x' 0 0", "NOTDIR"},
    {ALL, "PUTFH @root; CREATE 2 'x' 0 0", "ROFS"},
    {ALL, "PUTFH @ro; CREATE 2 'x' 0 0", "ROFS"},
    {ALL, "uid=8 PUTFH @locked; CREATE 2 'x' 0 0", "ACCESS"},
    {ALL, "uid=8 PUTFH @demo; CREATE 3 0 0 'x' 0 0", "PERM"}, /* a device */
    {ALL, "PUTFH @demo; CREATE 2 'x' 1 1 4 7", "INVAL"},      /* attributes: that cannot be set */
    {ALL, "PUTFH @demo; CREATE 2 'x' 1 0x2000000 4 7", "ATTRNOTSUPP"}, /* nor is there */
    {ALL, "PUTFH @demo; CREATE 2 'x'" OWNER("3 #6d65"), "BADXDR"},
    {ALL, "PUTFH @demo; CREATE 2 'x' 2 0 0x10 8 'them'", "BADOWNER"},
    {ALL, "PUTFH @demo; CREATE 2 'x' 1 0x1000 4 100000", "INVAL"}, /* so many entries */
    {ALL, "uid=9 PUTFH @demo; CREATE 2 'more' 0 0", "DQUOT"},
    {ALL, "PUTFH @demo; REMOVE 'new'", "OK"},
    {ALL, "PUTFH @demo; REMOVE 'new'", "NOENT"},
    {ALL, "PUTFH @demo; REMOVE 'full'", "NOTEMPTY"},
    {ALL, "PUTFH @demo; REMOVE ''", "INVAL"},
    {ALL, "PUTFH @demo; REMOVE '..'", "BADNAME"},
    {ALL, "PUTFH @demo; REMOVE 'a/b'", "BADCHAR"},
    {ALL, "PUTFH @demo; REMOVE %256", "NAMETOOLONG"},
    {ALL, "PUTFH @file; REMOVE 'x'", "NOTDIR"},
    {ALL, "PUTFH @root; REMOVE 'demo'", "ROFS"},
    {ALL, "PUTFH @ro; REMOVE 'file'", "ROFS"},
    {ALL, "uid=8 PUTFH @locked; REMOVE 'x'", "ACCESS"},
    {ALL, "uid=8 PUTFH @sticky; REMOVE 'theirs'", "ACCESS"}, /* it has no PERM */
    {ALL, BOTH("@demo", "@demo") "RENAME 'other' 'otherwise'", "OK"},
    {ALL, BOTH("@demo", "@demo") "RENAME 'otherwise' 'other'", "OK"},
    {ALL, BOTH("@demo", "@demo") "RENAME 'nothing' 'x'", "NOENT"},
    {ALL, BOTH("@demo", "@demo") "RENAME '' 'x'", "INVAL"},
    {ALL, BOTH("@demo", "@demo") "RENAME 'x' '..'", "BADNAME"},
    {ALL, BOTH("@demo", "@demo") "RENAME 'x' 'a/b'", "BADCHAR"},
    {ALL, BOTH("@demo", "@demo") "RENAME 'x' %256", "NAMETOOLONG"},
    {ALL, BOTH("@demo", "@demo") "RENAME 'file' 'dir'", "EXIST"}, /* a file for a directory */
    {ALL, BOTH("@demo", "@demo") "RENAME 'dir' 'file'", "EXIST"}, /* and the other way round */
    {ALL, BOTH("@demo", "@demo") "RENAME 'dir' 'full'", "NOTEMPTY"},
    {ALL, BOTH("@demo", "@dir") "RENAME 'dir' 'x'", "INVAL"}, /* into itself */
    {ALL, BOTH("@file", "@demo") "RENAME 'x' 'y'", "NOTDIR"},
    {ALL, BOTH("@demo", "@file") "RENAME 'file' 'y'", "NOTDIR"},
    {ALL, BOTH("@demo", "@ro") "RENAME 'file' 'y'", "ROFS"},
    {ALL, BOTH("@root", "@demo") "RENAME 'demo' 'y'", "XDEV"},
    {ALL, "uid=8 " BOTH("@locked", "@demo") "RENAME 'x' 'y'", "ACCESS"},
    {ALL, "uid=8 " BOTH("@sticky", "@sticky") "RENAME 'theirs' 'y'", "ACCESS"},
    {ALL, "PUTFH @demo; RENAME 'x' 'y'", "NOFILEHANDLE"}, /* nothing saved */
    {ALL, BOTH("@other", "@demo") "LINK 'linked'", "OK"},
    {ALL, BOTH("@other", "@demo") "LINK 'linked'", "EXIST"},
    {ALL, BOTH("@other", "@demo") "LINK ''", "INVAL"},
    {ALL, BOTH("@other", "@demo") "LINK '.'", "BADNAME"},
    {ALL, BOTH("@other", "@demo") "LINK 'a/b'", "BADCHAR"},
    {ALL, BOTH("@other", "@demo") "LINK %256", "NAMETOOLONG"},
    {ALL, BOTH("@other", "@file") "LINK 'x'", "NOTDIR"},
    {ALL, BOTH("@dir", "@demo") "LINK 'x'", "ISDIR"},
    {ALL, BOTH("@gone", "@demo") "LINK 'x'", "STALE"},
    {ALL, BOTH("@other", "@root") "LINK 'x'", "ROFS"},
    {ALL, BOTH("@rofile", "@demo") "LINK 'x'", "XDEV"},
    {ALL, "uid=8 " BOTH("@other", "@locked") "LINK 'x'", "ACCESS"},
    {ALL, "PUTFH @demo; LINK 'x'", "NOFILEHANDLE"},
};
const struct errors_table errors_names = {names, ARRAY_LEN(names)};

/* ---- attributes ---- */

#define SIZE(n) " 1 0x10 8 " n

static const struct v4_row_test attrs[] = {
    {ALL, "PUTFH @file; ACCESS 63", "OK"},
    {ALL, "PUTFH @file; GETATTR 1 2", "OK"},
    {ALL, "PUTFH @file; GETATTR 2 0 0x10000", "INVAL"}, /* time_access_set */
    {ALL, "PUTFH @file; GETATTR 65", "BADXDR"},
    {ALL, "PUTFH @file; VERIFY 1 2 4 1", "OK"},
    {ALL, "PUTFH @file; VERIFY 1 2 4 2", "NOT_SAME"},
    {ALL, "PUTFH @file; VERIFY 1 0x2000000 4 1", "ATTRNOTSUPP"},
    {ALL, "PUTFH @file; VERIFY 1 0x800 4 0", "INVAL"}, /* rdattr_error */
    {ALL, "PUTFH @file; NVERIFY 1 2 4 2", "OK"},
    {ALL, "PUTFH @file; NVERIFY 1 2 4 1", "SAME"},
    {ALL, "PUTFH @file; NVERIFY 1 0x2000000 4 1", "ATTRNOTSUPP"},
    {ALL, "PUTFH @file; NVERIFY 2 0 0x10000 4 0", "INVAL"},
    {ALL, "PUTFH @other; SETATTR $zero" MODE("0x1a4"), "OK"},
    {ALL, "PUTFH @other; SETATTR $zero" MODE("0x11a4"), "INVAL"},
    {ALL, "PUTFH @other; SETATTR $zero 1 2 4 1", "INVAL"}, /* type: only told */
    {ALL, "PUTFH @other; SETATTR $zero 1 0x2000000 4 1", "ATTRNOTSUPP"},
    {ALL, "PUTFH @other; SETATTR $zero 2 0 0x10 8 'them'", "BADOWNER"},
    {ALL, "PUTFH @link; SETATTR $zero 1 0x1000 4 0", "ATTRNOTSUPP"}, /* a link's list */
    {ALL, "PUTFH @other; SETATTR $zero" SIZE("q100"), "OK"},
    {ALL, "PUTFH @other; SETATTR $zero" SIZE("q0xffffffffffffffff"), "FBIG"},
    {V40, "PUTFH @dir; SETATTR $zero" SIZE("q0"), "ISDIR"},
    {V41_UP, "PUTFH @dir; SETATTR $zero" SIZE("q0"), "WRONG_TYPE"}, /* it has no ISDIR */
    {ALL, "PUTFH @fifo; SETATTR $zero" SIZE("q0"), "INVAL"},
    {ALL, "PUTFH @ro; SETATTR $zero" MODE("0x1ff"), "ROFS"},
    {ALL, "PUTFH @root; SETATTR $zero" MODE("0x1ff"), "ROFS"},
    {ALL, "uid=8 PUTFH @other; SETATTR $zero" MODE("0x1ff"), "PERM"},
    {ALL, "uid=8 PUTFH @mine; SETATTR $zero" SIZE("q0"), "ACCESS"},
    {ALL, "PUTFH @other; SETATTR $none" SIZE("q0"), "BAD_STATEID"},
    {ALL, "PUTFH @file; SETATTR $r" SIZE("q0"), "OPENMODE"},
    {ALL, "PUTFH @file; SETATTR $old" SIZE("q0"), "OLD_STATEID"},
    {ALL, "PUTFH @denied; SETATTR $zero" SIZE("q0"), "LOCKED"},
    {V40, "PUTFH @file; SETATTR $boot" SIZE("q0"), "STALE_STATEID"},
    {ALL, "PUTFH @demo; READDIR q0 q0 1000 8000 1 0x100000", "OK"},
    {ALL, "PUTFH @root; READDIR q0 q0 1000 8000 1 0x100000", "OK"},
    {ALL, "PUTFH @demo; READDIR q1 q0 1000 8000 0", "BAD_COOKIE"},
    {ALL, "PUTFH @demo; READDIR q2 q0 1000 8000 0", "BAD_COOKIE"},
    {ALL, "PUTFH @demo; READDIR q77 q1 1000 8000 0", "NOT_SAME"}, /* another's verifier */
    {ALL, "PUTFH @demo; READDIR q0 q0 1000 10 0", "TOOSMALL"},
    {ALL, "PUTFH @demo; READDIR q0 q0 1000 20 0", "TOOSMALL"}, /* not one entry */
    {ALL, "PUTFH @demo; READDIR q0 q0 1000 8000 2 0 0x10000", "INVAL"},
    {ALL, "PUTFH @file; READDIR q0 q0 1000 8000 0", "NOTDIR"},
    {ALL, "PUTFH @link; READDIR q0 q0 1000 8000 0", "NOTDIR"},
    {ALL, "uid=8 PUTFH @locked; READDIR q0 q0 1000 8000 0", "ACCESS"},
    {ALL, "PUTFH @link; READLINK", "OK"},
    {V40, "PUTFH @file; READLINK", "INVAL"},
    {V41_UP, "PUTFH @file; READLINK", "WRONG_TYPE"},
    {V41_UP, "PUTFH @dir; READLINK", "WRONG_TYPE"},
    {V41_UP, "PUTFH @root; READLINK", "WRONG_TYPE"},
    {V42, "PUTFH @file; SETXATTR 0 'user' 'value'", "OK"},
    {V42, "PUTFH @file; SETXATTR 1 'user' 'value'", "EXIST"},
    {V42, "PUTFH @file; SETXATTR 2 'nouser' 'value'", "NOXATTR"},
    {V42, "PUTFH @file; SETXATTR 3 'user' 'value'", "BADXDR"},
    {V42, "PUTFH @file; SETXATTR 0 '' 'value'", "INVAL"},
    {V42, "PUTFH @file; SETXATTR 0 %256 'value'", "NAMETOOLONG"},
    {V42, "PUTFH @file; SETXATTR 0 2 #61000000 'value'", "BADCHAR"},
    {V42, "PUTFH @link; SETXATTR 0 'user' 'value'", "WRONG_TYPE"},
    {V42, "PUTFH @root; SETXATTR 0 'user' 'value'", "NOTSUPP"},
    {V42, "PUTFH @ro; SETXATTR 0 'user' 'value'", "ROFS"},
    {V42, "uid=8 PUTFH @mine; SETXATTR 0 'user' 'value'", "ACCESS"},
    {V42, "uid=8 PUTFH @sticky; SETXATTR 0 'user' 'value'", "PERM"},
    {V42, "uid=9 PUTFH @quota; SETXATTR 0 'a' %2000", "DQUOT"},
    {V42, "PUTFH @file; GETXATTR 'user'", "OK"},
    {V42, "PUTFH @file; GETXATTR 'nouser'", "NOXATTR"},
    {V42, "PUTFH @file; GETXATTR ''", "INVAL"},
    {V42, "PUTFH @file; GETXATTR %256", "NAMETOOLONG"},
    {V42, "PUTFH @file; GETXATTR 2 #61000000", "BADCHAR"},
    {V42, "PUTFH @root; GETXATTR 'user'", "NOTSUPP"},
    {V42, "uid=8 PUTFH @mine; GETXATTR 'user'", "ACCESS"},
    {V42, "PUTFH @file; LISTXATTRS q0 1000", "OK"},
    {V42, "PUTFH @file; LISTXATTRS q0 10", "TOOSMALL"},
    {V42, "PUTFH @file; LISTXATTRS q0 18", "TOOSMALL"},
    {V42, "PUTFH @root; LISTXATTRS q0 1000", "NOTSUPP"},
    {V42, "uid=8 PUTFH @mine; LISTXATTRS q0 1000", "ACCESS"},
    {V42, "PUTFH @file; REMOVEXATTR 'user'", "OK"},
    {V42, "PUTFH @file; REMOVEXATTR 'user'", "NOXATTR"},
    {V42, "PUTFH @file; REMOVEXATTR ''", "INVAL"},
    {V42, "PUTFH @file; REMOVEXATTR %256", "NAMETOOLONG"},
    {V42, "PUTFH @file; REMOVEXATTR 2 #61000000", "BADCHAR"},
    {V42, "PUTFH @link; REMOVEXATTR 'user'", "WRONG_TYPE"},
    {V42, "PUTFH @root; REMOVEXATTR 'user'", "NOTSUPP"},
    {V42, "PUTFH @ro; REMOVEXATTR 'user'", "ROFS"},
    {V42, "uid=8 PUTFH @mine; REMOVEXATTR 'user'", "ACCESS"},
    {V42, "uid=8 PUTFH @sticky; REMOVEXATTR 'user'", "PERM"},
};
const struct errors_table errors_attrs = {attrs, ARRAY_LEN(attrs)};
