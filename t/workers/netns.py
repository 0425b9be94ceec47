"""Two machines with a cable between them, that can be pulled: two network
namespaces of this process's own, and a veth pair. Nothing of it touches the
machine's own network; all of it is gone with the last process in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess

SERVER, CLIENT = "10.99.0.1", "10.99.0.2"

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000


class NotPermitted(Exception):
    """Why there are no namespaces to be had."""


class Machines:
    """The calling thread is on the server's machine, and so are processes and
    threads that it starts."""

    def __enter__(self) -> Machines:
        if shutil.which("ip") is None:
            raise NotPermitted("no ip command (package iproute2)")
        with contextlib.ExitStack() as stack:
            home = self._here(stack)
            stack.callback(self._enter, home)
            self.client = self._new(stack)
            self.server = self._new(stack)
            self._ip("link", "set", "lo", "up")
            # The second end goes where the descriptor says.
            self._ip("link", "add", "far", "type", "veth", "peer", "name",
                     "near", "netns", f"/proc/{os.getpid()}/fd/{self.client}")
            self._ip("addr", "add", f"{SERVER}/24", "dev", "far")
            self._ip("link", "set", "far", "up")
            with self.at_client():
                self._ip("link", "set", "lo", "up")
                self._ip("addr", "add", f"{CLIENT}/24", "dev", "near")
                self._ip("link", "set", "near", "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def at_client(self):
        """On the client's machine for a while: sockets stay there."""
        self._enter(self.client)
        try:
            yield
        finally:
            self._enter(self.server)

    def cable(self, there: bool) -> None:
        with self.at_client():
            self._ip("link", "set", "near", "up" if there else "down")

    def _new(self, stack) -> int:
        if _libc.unshare(_NEWNET) == -1:
            raise NotPermitted(os.strerror(ctypes.get_errno()))
        return self._here(stack)

    def _here(self, stack) -> int:
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        stack.callback(os.close, fd)
        return fd

    def _enter(self, fd: int) -> None:
        if _libc.setns(fd, _NEWNET) == -1:
            raise OSError(ctypes.get_errno(), "setns")

    def _ip(self, *words: str) -> None:
        done = subprocess.run(["ip", *words], text=True, timeout=10,
                              stderr=subprocess.PIPE)
        if done.returncode:
            raise NotPermitted(f"ip {' '.join(words)}: {done.stderr.strip()}")
