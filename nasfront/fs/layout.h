/*
 * The file system's format on the volume. All numbers little endian; a block is 4096 bytes.
 *
 *   block 0            superblock; copies in block 8 and in the last block of the file system
 *   summary_start ..   summary blocks: 16 bytes an allocation group (AG), 252 AGs a block
 *   journal_start ..   two journal headers (written in turns), then the circular log
 *   ag_start ..        allocation groups of 32256 blocks, the last one shorter:
 *                        +0 block bitmap       bit set: block in use (these three included)
 *                        +1 inode bitmap       bit set: block is an inode block
 *                        +2 inode free bitmap  bit set: inode block with a free slot
 *                        +3 .. data, tree nodes, inode blocks, as they come
 *
 * Every block but data and the log starts with a header of 64 bytes:
 *   0 magic u32 | 4 crc32c u32 of the block with this field zero | 8 own block number u64
 *   16 owner inode u64 (0: none) | 24 sequence of the last change u64 | 32 uuid[16]
 *   48 type u16 | 50 level u16 | 52 count u16 | 54 heap u16 | 56 garbage u16 | 58 zeros
 * crc and sequence are set when the block is written to its place; journal images carry old ones.
 *
 * Superblock body:
 *   64 version u32 | 72 blocks u64 | 80 summary_start | 88 summary_blocks | 96 journal_start
 *   104 journal_blocks (headers included) | 112 ag_start | 120 ag_count | 128 root inode block
 *   136 hash key[16] | 152 birth seconds | 160 label[64]
 *
 * Summary entry: 0 free blocks u32 | 4 inodes in use u32 | 8 free slots in inode blocks u32 | 12 0
 *
 * Inode number = inode block * 8 + slot, but the inodes of the root inode block are 0..7: 1 holds
 * the orphan tree, 2 is the root directory, 3 holds the quota records, 4 the shares (made with the
 * first one), 5 the memos (its extents, all in the inode, are the ring). Slots of 504 bytes from
 * offset 64 of the block:
 *   0 magic u16 | 2 type u8 (0: free) | 3 flags u8 | 4 generation u32 | 8 mode u32 | 12 nlink u32
 *   16 uid u32 | 20 gid u32 | 24 size u64 | 32 blocks u64 (data and tree) | 40 change u64
 *   48 rdev major u32 | 52 minor u32 | 56 atime s | 64 mtime s | 72 ctime s | 80 btime s
 *   88 atime ns u32 | 92 mtime ns | 96 ctime ns | 100 btime ns | 104 exclusive create verifier u64
 *   112 parent inode u64 (directories; of a stand-in the inode whose nodes it has) | 120 tree root
 * block u64 (0: none) | 128 inline count u32 132 tree level u32 | 136 directory entries u64 | 144
 * quota tree u32 (0: none) 148 bytes of attributes in the inode u32 | 152 attribute tree root block
 * u64 (0: none) 160 attribute tree level u32 | 164 zeros 200 inline area of 304 bytes: at its begin
 * up to 12 extents of 24 (file block u64, block u64, length u32, flags u32), or the target of a
 * symbolic link (inline count is its length); at its end extended attributes { cookie u64, value
 * length u16, space u8, name length u8, name, value } in order of their cookies, unless there is a
 * tree of them
 *
 * Tree node (tree_node.c): a leaf has `count` u16 slots from offset 64, sorted by key, each the
 * offset of an entry { key u64, length u16, value } in the heap, which grows down from the end to
 * `heap`; `garbage` bytes of the heap are unused. An inner node has `count` pairs { key u64,
 * child block u64 } from offset 64; child i holds keys >= key i (the first: also all below).
 *   extents:   key file block; value { block u64, length u32, flags u32 (1: unwritten, 2: others
 *              may share it) }
 *   directory: key (hash of the name, 55 bits) << 8 | collision number; this is the cookie.
 *              value { inode u64, type u8, name }
 *   symlink:   key chunk number; value up to 256 bytes of the target
 *   orphans:   key inode number; value 1 byte: 0 to be freed, 1 to be cut to its size
 *   shares:    key block; value { length u32, owners u32 (2 or more) }: of data that several
 *              extents lead to. They do not overlap; what is in none has one owner
 *   quotas:    key kind (1 user, 2 group, 3 directory tree) << 32 | id; value { used blocks u64,
 *              used inodes u64, s the grace time of blocks ends u64 (0: it does not run), of
 *              inodes, soft limit of blocks u64 (0: none), of inodes, hard limit of blocks u64,
 *              of inodes }; a tree's goes on with the path it had when it was made.
 *              Key 0 << 32 | kind: { grace time of blocks in s u64, of inodes }
 *   xattrs:    key cookie << 16 | piece; cookie: (hash of the name, 39 bits, not 0) << 8 |
 *              collision number; value of piece 0 { value length u32, space u8 (0 user,
 *              1 system), name length u8, name, value }, of the others the value going on; all
 *              pieces but the last are full (272 bytes)
 *
 * Memo block, one of the ring: from offset 64 up to 63 memos of 64 bytes, in order of their
 * numbers: 0 number u64 (0: no memo, nor behind it; else one more than the memo before) | 8 key[32]
 *   40 inode u64 | 48 generation u32: the object | 52 kind u32 (enum memo_kind) | 56 zeros
 * The memo with the highest number was written last; the next goes behind it, or begins the ring's
 * next block (after the last the first), which has no other memos then.
 *
 * Journal header body: 64 generation u64 | 72 tail u64 | 80 nonce u64 | 88 verifier u64
 *   | 96 clean u32 | 104 memory u64: identity of the device's memory at this mount, 0 none
 *   | 112 hard u64: records before this position are stable, whatever they say.
 *   Positions count log blocks since mkfs; place = position mod log blocks.
 * Journal record (a batch), at a block boundary, padded to one:
 *   0 magic u32 | 4 crc32c of all `length` bytes with this field zero | 8 position u64
 *   16 nonce u64 | 24 length u32 | 28 items u32 | 32 revokes u32 | 36 flags u32 (1: soft)
 *   40 memory u64: of a soft record: the memory it was written into | 48 zeros to 64
 *   then revokes (block u64 each): changes to it in this and earlier batches are void,
 *   then items { block u64, offset u16, length u16, type u32 } followed by the bytes.
 */
#ifndef ISTHMUS_NASFRONT_FS_LAYOUT_H
#define ISTHMUS_NASFRONT_FS_LAYOUT_H

#include "runtime/bytes.h"
#include "nasfront/fs/fs.h"

#define BS FS_BLOCK_SIZE
#define FORMAT_VERSION                                                                             \
	7u /* 4: unwritten extents, xattrs; 5: shared extents; 6: stand-ins; 7: memos */
#define FORMAT_OLDEST 3u /* is brought up to date by a mount; 3: quotas */

/* Block header. */
#define H_MAGIC	   0
#define H_CRC	   4
#define H_BLOCK	   8
#define H_OWNER	   16
#define H_SEQ	   24
#define H_UUID	   32
#define H_TYPE	   48
#define H_LEVEL	   50
#define H_COUNT	   52
#define H_HEAP	   54
#define H_GARBAGE  56
#define H_SIZE	   64
#define META_MAGIC 0x4d534649u /* "IFSM" */

enum block_type {
	BT_SUPER = 1,
	BT_SUMMARY,
	BT_JHEAD,
	BT_BITMAP,
	BT_INODE_MAP,
	BT_INODE_FREE,
	BT_INODES,
	BT_EXTENTS,
	BT_DIR,
	BT_SYMLINK,
	BT_ORPHANS,
	BT_QUOTAS,
	BT_XATTRS,
	BT_SHARES,
	BT_MEMOS,
	BT_LAST
};
#define BT_LAST_NODE BT_SHARES /* of the types of tree nodes, the first is BT_EXTENTS */

/* Superblock. */
#define SB_VERSION	  64
#define SB_BLOCKS	  72
#define SB_SUMMARY_START  80
#define SB_SUMMARY_BLOCKS 88
#define SB_JOURNAL_START  96
#define SB_JOURNAL_BLOCKS 104
#define SB_AG_START	  112
#define SB_AG_COUNT	  120
#define SB_ROOT_BLOCK	  128
#define SB_HASH_KEY	  136
#define SB_BIRTH	  152
#define SB_LABEL	  160
#define SB_COPY_BLOCK	  8
#define SUMMARY_START	  16

/* Summary. */
#define SUM_FREE       0
#define SUM_INODES     4
#define SUM_FREE_SLOTS 8
#define SUM_SIZE       16
#define SUM_PER_BLOCK  ((BS - H_SIZE) / SUM_SIZE)

/* Allocation groups. */
#define AG_BLOCKS     32256u /* bits of one bitmap block */
#define AG_META	      3u
#define AG_MIN	      64u
#define AG_BITMAP     0
#define AG_INODE_MAP  1
#define AG_INODE_FREE 2

/* Inodes. */
#define INODE_SIZE	 504
#define INODES_PER_BLOCK 8
#define INODE_MAGIC	 0x4e49
#define I_MAGIC		 0
#define I_TYPE		 2
#define I_FLAGS		 3
#define I_GENERATION	 4
#define I_MODE		 8
#define I_NLINK		 12
#define I_UID		 16
#define I_GID		 20
#define I_FILESIZE	 24
#define I_BLOCKS	 32
#define I_CHANGE	 40
#define I_RMAJOR	 48
#define I_RMINOR	 52
#define I_ATIME		 56
#define I_MTIME		 64
#define I_CTIME		 72
#define I_BTIME		 80
#define I_ATIME_NS	 88
#define I_MTIME_NS	 92
#define I_CTIME_NS	 96
#define I_BTIME_NS	 100
#define I_VERIFIER	 104
#define I_PARENT	 112
#define I_ROOT		 120
#define I_INLINE	 128
#define I_LEVEL		 132
#define I_ENTRIES	 136
#define I_TREE		 144
#define I_XINLINE	 148
#define I_XROOT		 152
#define I_XLEVEL	 160
#define I_FIXED		 200
#define I_AREA		 200
#define I_AREA_SIZE	 (INODE_SIZE - I_AREA)
#define EXT_INLINE_SIZE	 24
#define EXT_INLINE_MAX	 (I_AREA_SIZE / EXT_INLINE_SIZE)

#define IF_VERIFIER 1 /* the verifier is of an exclusive create */
#define IF_ACL	    4 /* an access control list is among the attributes of the system */
#define IF_CUT	    2 /* extents past the size wait to be freed; the inode is in the orphan tree */

#define IF_STANDIN                                                                                 \
	8 /* of a clone under way (standin.c): counts for no quota, nodes are I_PARENT's */

#define ORPHAN_INO  1
#define ORPHAN_TYPE 15 /* inode type of the orphan tree's holder */
#define QUOTA_INO   3
#define QUOTA_TYPE  14 /* of the quota records' holder */
#define SHARE_INO   4
#define SHARE_TYPE  13 /* of the shares' holder */
#define MEMO_INO    5
#define MEMO_TYPE   12 /* of the memos' holder */
#define HOLDER_TYPE 12 /* types from here on are no files */
#define LOWEST_INO  (SUMMARY_START * INODES_PER_BLOCK)

#define ORPHAN_FREE 0
#define ORPHAN_CUT  1

/* Trees. */
#define TREE_MAX_LEVEL 7
#define TREE_VALUE_MAX 272
#define LEAF_ENTRY     10 /* bytes before the value */
#define INNER_PAIR     16
#define INNER_MAX      ((BS - H_SIZE) / INNER_PAIR)
#define EXT_VALUE      16
#define EXT_UNWRITTEN  1u
#define EXT_SHARED     2u
#define EXT_FLAGS      (EXT_UNWRITTEN | EXT_SHARED) /* one of them at most */
#define SHARE_VALUE    8
#define DIR_VALUE      9 /* bytes before the name */
#define DIR_KEY_END    (1ull << 63)
#define SYMLINK_CHUNK  256

/* Quota records. */
#define Q_USED	    0  /* blocks, inodes */
#define Q_UNTIL	    16 /* the two, as of all that follow */
#define Q_SOFT	    32
#define Q_HARD	    48
#define Q_SIZE	    64
#define Q_CHANGING  32 /* what operations change: use and grace */
#define QUOTA_GRACE (7 * 86400)

/* Memos. */
#define ME_SEQ		0
#define ME_KEY		8
#define ME_INO		40
#define ME_GENERATION	48
#define ME_KIND		52
#define ME_SIZE		64
#define ME_PER_BLOCK	((BS - H_SIZE) / ME_SIZE)
#define ME_SEQ_MAX	(1ull << 62) /* no number is that high */
#define MEMO_BLOCKS_MIN 4
#define MEMO_BLOCKS_MAX 1040 /* 65,520 memos */
/* The call that was carried out. */
enum memo_kind {
	MEMO_CREATE = 1,
	MEMO_MKDIR,
	MEMO_SYMLINK,
	MEMO_MKNOD,
	MEMO_LINK,
	MEMO_REMOVE,
	MEMO_RMDIR,
	MEMO_RENAME,
	MEMO_SETATTR,
	MEMO_XATTR_SET,
	MEMO_XATTR_REMOVE,
	MEMO_ACL_SET,
	MEMO_CLONE,
	MEMO_ALLOCATE,
	MEMO_DEALLOCATE,
	MEMO_KINDS
};

#define FILE_BLOCKS_MAX (1ull << 50)

/* Journal. */
#define JH_GEN	    64
#define JH_TAIL	    72
#define JH_NONCE    80
#define JH_VERIFIER 88
#define JH_CLEAN    96
#define JH_MEMORY   104
#define JH_HARD	    112
#define JR_MAGIC    0x4a534649u /* "IFSJ" */
#define JR_CRC	    4
#define JR_POS	    8
#define JR_NONCE    16
#define JR_LENGTH   24
#define JR_ITEMS    28
#define JR_REVOKES  32
#define JR_FLAGS    36
#define JR_MEMORY   40
#define JR_SIZE	    64
#define JI_SIZE	    16
#define JRF_SOFT    1u

_Static_assert(H_SIZE + INODES_PER_BLOCK * INODE_SIZE == BS, "inode slots fill the block");
_Static_assert((BS - H_SIZE) * 8 == AG_BLOCKS, "one bitmap block an allocation group");
_Static_assert(DIR_VALUE + FS_NAME_MAX <= TREE_VALUE_MAX, "names fit");
_Static_assert(Q_SIZE + FS_QUOTA_PATH_MAX <= TREE_VALUE_MAX, "quota records fit");
_Static_assert(H_SIZE + ME_PER_BLOCK * ME_SIZE == BS, "memos fill the block");
_Static_assert(EXT_INLINE_MAX == 12, "inline extents");

#endif
