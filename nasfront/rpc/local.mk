libnasfront_a_SOURCES += \
	nasfront/rpc/drc.c nasfront/rpc/drc.h nasfront/rpc/rpc.h \
	nasfront/rpc/rpc_call.c nasfront/rpc/rpc_conn.c nasfront/rpc/rpc_conn.h \
	nasfront/rpc/rpc_msg.c nasfront/rpc/rpc_msg.h nasfront/rpc/rpc_server.c \
	nasfront/rpc/rpcbind.c nasfront/rpc/rpcbind.h nasfront/rpc/xdr.c nasfront/rpc/xdr.h
