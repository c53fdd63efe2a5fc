dist_man_MANS += man/isthmus.1 man/isthmus.conf.5 man/isthmusd.8 \
	man/isthmus-controller.8 man/isthmus-fsck.8 man/isthmus-head.8
