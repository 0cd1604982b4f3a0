"""A hub for tests: two HTTP servers on this machine, one that lists and redirects as the Hugging Face hub does, one that
keeps large files as its content network does. What goes wrong is scripted: a fault takes the next request that fits."""

import hashlib
import http.server
import json
import socket
import ssl
import threading
import time
import urllib.parse

TOKEN = "hf_the-one-that-opens"


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    """files: path → bytes; those named in `lfs` lie on the other server."""

    def __init__(self, files, lfs=(), commit=None, gated=False, private=False):
        self.files, self.lfs, self.gated, self.private = dict(files), set(lfs), gated, private
        self.commit = commit or hashlib.sha1(repr(sorted(files)).encode()).hexdigest()
        self.revisions = {"main": self.commit}

    def etag(self, path):
        data = self.files[path]
        return hashlib.sha256(data).hexdigest() if path in self.lfs else git_sha1(data)

    def siblings(self, blobs):
        for path, data in sorted(self.files.items()):
            entry = {"rfilename": path}
            if blobs:
                entry |= {"size": len(data), "blobId": git_sha1(data)}
                if path in self.lfs:
                    entry["lfs"] = {"sha256": self.etag(path), "size": len(data), "pointerSize": 134}
            yield entry

    def tree(self):
        for path, data in sorted(self.files.items()):
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
            if path in self.lfs:
                entry["lfs"] = {"oid": self.etag(path), "size": len(data), "pointerSize": 134}
            yield entry


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub, on_cdn = None, False

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        record = {"cdn": self.on_cdn, "method": self.command, "path": self.path, "sent": 0,
                  "headers": {k.lower(): v for k, v in self.headers.items()}}
        with self.hub.lock:
            self.hub.requests.append(record)
            fault = next((f for f in self.hub.faults if f["times"] and f["on"] in self.path
                          and f["cdn"] in (None, self.on_cdn)), None)
            if fault:
                fault["times"] -= 1
        self.record, self.fault = record, fault
        try:
            if fault and fault.get("handle"):
                fault["handle"](self)
            elif self.on_cdn:
                self.cdn()
            else:
                self.site()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", len(body))
        self.end_headers()
        if self.command != "HEAD":
            self.put(body)

    def put(self, body):
        self.wfile.write(body)
        self.record["sent"] += len(body)

    def json(self, value):
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, status, code="", message=""):
        self.send(status, b"{}", **({"X_Error_Code": code} if code else {}),
                  **({"X_Error_Message": message} if message else {}))

    def site(self):
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(p) for p in url.path.strip("/").split("/")]
        api = parts[:2] == ["api", "models"]
        if api:
            parts = parts[2:]
        name, rest = "/".join(parts[:2]), parts[2:]
        if name in self.hub.moved:
            return self.send(307, Location=self.path.replace(name, self.hub.moved[name]))
        repo = self.hub.repos.get(name)
        good = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not good):
            return self.refuse(401 if not good else 404, "RepoNotFound", "Repository not found")
        if len(rest) < 2 or (revision := repo.revisions.get(rest[1], rest[1])) != repo.commit:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        if api and rest[0] == "revision":
            blobs = "blobs" in urllib.parse.parse_qs(url.query) and not self.hub.bare
            return self.json({"id": name, "sha": repo.commit, "siblings": list(repo.siblings(blobs)), "tags": []})
        if api and rest[0] == "tree":
            return self.json(list(repo.tree()))
        if repo.gated and not good:
            return self.refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
        path = "/".join(rest[2:])
        if path not in repo.files:
            return self.send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=revision)
        etag, data = repo.etag(path), repo.files[path]
        if path in repo.lfs:
            return self.send(302, Location=f"{self.hub.cdn_url}/{etag}?signature=1", X_Repo_Commit=revision,
                             X_Linked_Etag=f'"{etag}"', X_Linked_Size=len(data))
        self.file(data, ETag=f'"{etag}"', X_Repo_Commit=revision)

    def cdn(self):
        etag = urllib.parse.urlsplit(self.path).path.strip("/")
        for repo in self.hub.repos.values():
            for path in repo.lfs:
                if repo.etag(path) == etag:
                    return self.file(repo.files[path], ETag='"of-the-content-network"')
        self.send(404)

    def file(self, data, **headers):
        begin, status = 0, 200
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        fault = self.fault or {}
        end = len(data)
        if wanted and not fault.get("no_ranges") and condition in (None, headers["ETag"]):
            first, last = wanted.removeprefix("bytes=").split("-")
            begin, status = int(first), 206
            if last:
                end = min(end, int(last) + 1)
            if begin >= len(data):
                return self.send(416, Content_Range=f"bytes */{len(data)}")
            headers["Content_Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        if fault.get("corrupt"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        body = data[begin:end]
        with self.hub.lock:
            self.hub.busy += 1
            self.hub.most_busy = max(self.hub.most_busy, self.hub.busy)
        try:
            time.sleep(self.hub.delay)
            if "drop_after" in fault:
                self.send(status, body[:fault["drop_after"]], Content_Length=len(body), **headers)
                self.wfile.flush()
                fault.get("wait", threading.Event()).wait(fault.get("wait_s", 0))
                self.connection.shutdown(socket.SHUT_WR)
                self.close_connection = True
            else:
                self.send(status, body, **headers)
        finally:
            with self.hub.lock:
                self.hub.busy -= 1


class Hub:
    """`url` lists and redirects to `cdn_url`; `requests` is what both were asked."""

    def __init__(self, certificate=None):
        self.repos, self.moved, self.faults, self.requests = {}, {}, [], []
        self.lock, self.busy, self.most_busy, self.delay, self.bare = threading.Lock(), 0, 0, 0, False
        self.servers = []
        self.url = self.serve(False, certificate)
        # Another name as well as another port: what is sent to "localhost" must not go to 127.0.0.1.
        self.cdn_url = self.serve(True, None)

    def serve(self, on_cdn, certificate):
        handler = type("Bound", (Handler,), {"hub": self, "on_cdn": on_cdn})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.servers.append(server)
        host = "127.0.0.1" if on_cdn else "localhost"
        return f"http{'s' if certificate else ''}://{host}:{server.server_port}"

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def fail(self, on="", times=1, cdn=None, **how):
        """The next `times` requests whose path holds `on` go wrong: drop_after=N, corrupt, no_ranges, handle=f."""
        self.faults.append({"on": on, "times": times, "cdn": cdn, **how})

    def asked(self, cdn=None, on="", method=None):
        with self.lock:
            return [r for r in self.requests if cdn in (None, r["cdn"]) and on in r["path"]
                    and method in (None, r["method"])]

    def sent(self, on):
        return sum(r["sent"] for r in self.asked(on=on))


def status(code, **headers):
    """A handler that answers with this status."""
    return lambda handler: handler.send(code, b"no", **headers)
