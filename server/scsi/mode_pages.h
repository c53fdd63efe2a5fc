/* Mode pages (SPC-4 7.5, SBC-4 6.4): what there is, and what of it may be changed. */
#ifndef ISTHMUS_SERVER_SCSI_MODE_PAGES_H
#define ISTHMUS_SERVER_SCSI_MODE_PAGES_H

#include "server/scsi/scsi_priv.h"

enum mode_control { MODE_CURRENT, MODE_CHANGEABLE, MODE_DEFAULT, MODE_SAVED };

#define MODE_PAGE_MAX 40
struct mode_page {
	uint8_t code, subpage;
	uint8_t len; /* whole, with its header */
	uint8_t values[MODE_PAGE_MAX];
	uint8_t changeable[MODE_PAGE_MAX]; /* from byte 2 (4 of a subpage) */
};
extern const struct mode_page mode_pages[];
extern const unsigned mode_npages;

/* NULL: none such. */
const struct mode_page *mode_page_find(uint8_t code, uint8_t subpage);
/* Writes the page's values of that kind; returns its length. */
unsigned mode_page_get(const struct mode_page *p, struct scsi_lu *lu, enum mode_control pc,
		       uint8_t *buf);
/* The byte whose changeable bits have a value there is not; -1: none. */
int mode_page_wrong(const struct mode_page *p, const uint8_t *buf);
/* Makes the values current, which must differ in changeable bits only. True: something changed. */
bool mode_page_set(const struct mode_page *p, struct scsi_lu *lu, const uint8_t *buf);

#endif
