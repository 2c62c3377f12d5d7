"""A daemon with the archive of one mailbox, for the scripts beside this file. It runs on loopback, in a folder that is removed at the end.

Needs python3 and openssl, and bin/copialettere ("make build"). With a Dovecot in front it also needs root and dovecot-imapd.
"""

import argparse
import glob
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
USER, PASSWORD = "mario@alpha.test", "ceralacca e spago"
FOUND_BY = "lana"  # a word in the subject of the message that the scripts search for


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, seconds=20):
    end = time.time() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.time() > end:
                raise SystemExit(f"nobody listens on port {port}")
            time.sleep(0.1)


class Archive:
    """The daemon, and what it has archived: self.messages, the bytes in the order of arrival."""

    def __init__(self, arguments):
        self.program, self.processes = os.path.abspath(arguments.program), []
        self.folder = tempfile.mkdtemp(prefix="copialettere-clients-")
        os.chmod(self.folder, 0o755)
        self.imap, self.lmtp, self.plain, self.submission = (free_port() for _ in range(4))
        self.authority, self.certificate, self.key = self.path("authority.pem"), self.path("certificate.pem"), self.path("key.pem")
        self.messages = []

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def run(self, *arguments, **options):
        return subprocess.run([self.program, *arguments, "-config", self.path("copialettere.toml")], check=True, capture_output=True, **options).stdout

    def start(self, command, log, **options):
        process = subprocess.Popen(command, stdout=open(self.path(log), "ab"), stderr=subprocess.STDOUT, **options)
        self.processes.append(process)
        return process

    def __enter__(self):
        try:
            self.set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def set_up(self):
        # Thunderbird takes no certificate that is its own authority.
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        with open(self.path("extensions"), "w") as f:
            f.write("subjectAltName=DNS:localhost\n")
        for command in (["req", "-x509", *curve, "-days", "2", "-subj", "/CN=authority of a test", "-keyout", self.path("ca.key"), "-out", self.authority],
                        ["req", *curve, "-subj", "/CN=localhost", "-keyout", self.key, "-out", self.path("request")],
                        ["x509", "-req", "-in", self.path("request"), "-CA", self.authority, "-CAkey", self.path("ca.key"), "-CAcreateserial", "-days", "2",
                         "-extfile", self.path("extensions"), "-out", self.certificate]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        with open(self.path("imapc.key"), "w") as f:
            f.write(os.urandom(24).hex() + "\n")
        os.chmod(self.path("imapc.key"), 0o600)
        os.mkdir(self.path("mail"))
        with open(self.path("copialettere.toml"), "w") as f:
            f.write(f"""
data = "{self.path("data")}"
[received]
listen = ["tcp:127.0.0.1:{self.lmtp}"]
next_hop = "maildir:{self.path("mail")}"
[auth]
source = "file:{self.path("passwd")}"
[tls]
certificate = "{self.certificate}"
key = "{self.key}"
[imap]
listen = ["tls:127.0.0.1:{self.imap}", "tcp:127.0.0.1:{self.plain}"]
name = "localhost"
insecure_loopback = true
[imapc]
master_user = "copialettere-imapc"
key_file = "{self.path("imapc.key")}"
[submission]
listen = ["tls:127.0.0.1:{self.submission}"]
name = "localhost"
[[domain]]
name = "alpha.test"
""")
        self.run("password", USER, input=PASSWORD.encode() + b"\n")
        self.run("init")
        self.start([self.program, "serve", "-config", self.path("copialettere.toml")], "daemon.log")
        wait_for(self.imap)
        self.run("mailbox", "enable", USER)
        self.run("mailbox", "set", USER, "imap=on")
        for file in sorted(glob.glob(os.path.join(TOP, "testdata", "messages", "*.eml"))):
            with open(file, "rb") as f:
                self.deliver(f.read())

    def stop(self):
        """Stops the daemon."""
        self.processes[0].terminate()
        self.processes[0].wait(30)

    def deliver(self, message):
        with socket.create_connection(("127.0.0.1", self.lmtp), 20) as s, s.makefile("rwb") as f:
            def say(line, want):
                if line is not None:
                    f.write(line + b"\r\n")
                    f.flush()
                reply = f.readline()
                while reply[3:4] == b"-":
                    reply = f.readline()
                if not reply.startswith(want):
                    raise SystemExit(f"{line!r} was answered {reply!r}")
            say(None, b"220")
            say(b"LHLO localhost", b"250")
            say(b"MAIL FROM:<ext@ext.test>", b"250")
            say(b"RCPT TO:<" + USER.encode() + b"> ORCPT=rfc822;" + USER.encode(), b"250")
            say(b"DATA", b"354")
            lines = message.split(b"\r\n")
            say(b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines[:-1]) + b"\r\n.", b"250")
        self.messages.append(message)

    def digests(self):
        return {hashlib.sha256(m).hexdigest() for m in self.messages}

    def dovecot(self):
        """Starts a Dovecot that shows the archive as the folder Archivio, by the files of contrib/dovecot, and returns its port."""
        if os.geteuid() != 0:
            raise SystemExit("with a Dovecot, run this as root")
        port, own = free_port(), self.path("dovecot")
        for name in ("", "run", "state", "mail", "home"):
            os.makedirs(os.path.join(own, name), exist_ok=True)
        for name in ("mail", "home"):
            shutil.chown(os.path.join(own, name), "nobody", "nogroup")
        shutil.copy(os.path.join(TOP, "contrib", "dovecot", "copialettere.acl"), own)
        with open(os.path.join(TOP, "contrib", "dovecot", "92-copialettere-imapc.conf")) as f:
            fragment = f.read()
        for old, new in (("imapc_port = 143", f"imapc_port = {self.plain}"), ("/etc/copialettere/imapc.key", self.path("imapc.key")),
                         ("/etc/dovecot/copialettere.acl", os.path.join(own, "copialettere.acl"))):
            fragment = fragment.replace(old, new)
        with open(os.path.join(own, "users"), "w") as f:
            f.write(f"{USER}:{{PLAIN}}{PASSWORD}::::::userdb_namespace/archivio/disabled=no\n")
        with open(os.path.join(own, "dovecot.conf"), "w") as f:
            f.write(f"""
base_dir = {own}/run
state_dir = {own}/state
log_path = {own}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{own}/mail/%u
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = username_format=%u {own}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {own}/users
  override_fields = uid=nobody gid=nogroup home={own}/home/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
{fragment}""")
        self.start(["dovecot", "-F", "-c", os.path.join(own, "dovecot.conf")], "dovecot.out")
        wait_for(port)
        return port

    def whole(self):
        """Says that the archive is as it was, or ends the script."""
        entries = self.run("list", USER, "-json").splitlines()
        self.run("verify")
        if len(entries) != len(self.messages):
            raise SystemExit(f"FAIL: the archive has {len(entries)} messages of {len(self.messages)}")
        print(f"ok    the archive has all of its {len(entries)} messages, and verify finds no fault")

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def parser(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-program", default=os.path.join(TOP, "bin", "copialettere"), help="the program; the default is bin/copialettere")
    return p


def check(what, good, detail=""):
    if not good:
        raise SystemExit(f"FAIL  {what}: {detail}")
    print(f"ok    {what}")
