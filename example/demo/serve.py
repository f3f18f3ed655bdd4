"""``python -m demo.serve FD``: the development server, on a socket that listens already, so nobody takes its port."""

import socket
import sys

import django
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application


def serve(bound: socket.socket) -> None:
    address = bound.getsockname()
    server = ThreadedWSGIServer(address, WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = bound
    server.server_name, server.server_port = address
    server.daemon_threads = True
    server.setup_environ()
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    server.serve_forever()


if __name__ == "__main__":
    django.setup()
    serve(socket.socket(fileno=int(sys.argv[1])))
