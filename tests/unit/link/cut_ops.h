/*
 * The real transport with a knife: a route's pipes break at once, or fall silent (what is sent
 * is lost, nothing arrives) until they are closed. For tests with both ends in one process.
 */
#ifndef ISTHMUS_TESTS_LINK_CUT_OPS_H
#define ISTHMUS_TESTS_LINK_CUT_OPS_H

#include "blockcore/link/link_ops.h"

extern const struct link_ops cut_ops;

enum cut_how { CUT_RESET, CUT_SILENT };
/* The pipes that the route of this listening address has now. Any thread. */
void cut_route(const char *listening, enum cut_how how);

#endif
