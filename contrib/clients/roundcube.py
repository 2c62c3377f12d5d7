#!/usr/bin/env python3
"""Opens an archive with Debian's Roundcube: lists its folders, opens one, searches, shows a message and compares its bytes, and is refused a deletion.

    apt-get install php-cli php-sqlite3 roundcube-core roundcube-sqlite3
    make build
    contrib/clients/roundcube.py              # Roundcube signs in to the archive itself
    contrib/clients/roundcube.py -dovecot     # a Dovecot shows the archive as the folder Archivio (contrib/dovecot); as root
"""

import hashlib
import html
import http.cookiejar
import json
import os
import re
import subprocess
import urllib.parse
import urllib.request

from archive import FOUND_BY, PASSWORD, USER, Archive, check, free_port, parser, wait_for

ROUNDCUBE = "/var/lib/roundcube"


class Browser:
    """Roundcube's pages and answers, without a screen."""

    def __init__(self, port):
        self.base, self.token = f"http://127.0.0.1:{port}/", ""
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, **query):
        with self.opener.open(self.base + "?" + urllib.parse.urlencode(query), timeout=60) as answer:
            return answer.read()

    def post(self, **form):
        form["_token"] = self.token
        with self.opener.open(self.base + "?_task=" + form["_task"], urllib.parse.urlencode(form).encode(), timeout=60) as answer:
            return answer.read().decode()

    def take_token(self, page):
        self.token = re.search(r'"request_token":"([^"]+)"', page).group(1)

    def remote(self, action, post=False, **query):
        """Asks as the script in the page does, and returns what that script is to do."""
        query.update(_task="mail", _action=action, _remote="1")
        request = urllib.request.Request(self.base + "?" + urllib.parse.urlencode(query), headers={"X-Roundcube-Request": self.token})
        if post:
            request = urllib.request.Request(self.base + f"?_task=mail&_action={action}", urllib.parse.urlencode(query).encode(),
                                             headers={"X-Roundcube-Request": self.token})
        with self.opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())["exec"]


def configure(archive, host, options):
    own = archive.path("roundcube")
    for name in ("", "logs", "temp"):
        os.makedirs(os.path.join(own, name), exist_ok=True)
    database = os.path.join(own, "roundcube.sqlite")
    with open("/usr/share/roundcube/SQL/sqlite.initial.sql") as f:
        subprocess.run(["php", "-r", '(new PDO("sqlite:" . $argv[1]))->exec(stream_get_contents(STDIN));', "--", database], stdin=f, check=True)
    with open("/etc/roundcube/defaults.inc.php") as f, open(os.path.join(own, "defaults.inc.php"), "w") as copy:
        copy.write(f.read())
    with open(os.path.join(own, "config.inc.php"), "w") as f:
        f.write(f"""<?php
$config['db_dsnw'] = 'sqlite:///{database}?mode=0600';
$config['imap_host'] = '{host}';
$config['imap_conn_options'] = {options};
$config['des_key'] = '{os.urandom(12).hex()}';
$config['log_dir'] = '{own}/logs/';
$config['temp_dir'] = '{own}/temp/';
$config['imap_debug'] = true;
$config['plugins'] = [];
$config['language'] = 'it_IT';
$config['skin'] = 'elastic';
""")
    return own


def main():
    p = parser(__doc__)
    p.add_argument("-dovecot", action="store_true", help="with a Dovecot that shows the archive as the folder Archivio")
    arguments = p.parse_args()
    with Archive(arguments) as archive:
        if arguments.dovecot:
            prefix, own = "Archivio/", configure(archive, f"localhost:{archive.dovecot()}", "[]")
        else:
            prefix = ""
            own = configure(archive, f"ssl://localhost:{archive.imap}", f"['ssl' => ['cafile' => '{archive.authority}']]")
        port = free_port()
        archive.start(["php", "-S", f"127.0.0.1:{port}", "-t", ROUNDCUBE + "/public_html"], "php.log", env={**os.environ, "ROUNDCUBE_CONFIG_DIR": own})
        wait_for(port)
        browser = Browser(port)
        try:
            visit(archive, browser, prefix)
            archive.whole()
            if arguments.dovecot:
                archive.stop()
                without(browser)
        except BaseException:
            for name in ("errors.log", "imap.log"):
                file = os.path.join(own, "logs", name)
                if os.path.exists(file):
                    print(f"--- the end of {name}\n" + "".join(open(file, errors="replace").readlines()[-30:]))
            raise


def visit(archive, browser, prefix):
    browser.take_token(browser.get(_task="login").decode())
    page = browser.post(_task="login", _action="login", _timezone="Europe/Rome", _url="", _user=USER, _pass=PASSWORD)
    check("signed in", 'id="messagelist' in page, re.sub(r"\s+", " ", html.unescape(page))[:300])
    browser.take_token(page)
    folders = set(re.findall(r'"id":"([^"]+)","name"', page.replace("\\/", "/")))
    month = sorted(f for f in folders if re.fullmatch(re.escape(prefix) + r"INBOX/\d{4}-\d{2}", f))
    check(f"folders: {', '.join(sorted(folders))}", month)
    script = browser.remote("list", _mbox=month[0])
    check(f"{len(archive.messages)} messages are listed in {month[0]}", script.count("this.add_message_row(") == len(archive.messages), script[:2000])
    found = browser.remote("search", _mbox=month[0], _q=FOUND_BY, _headers="subject", _scope="base")
    uids = re.findall(r'this\.add_message_row\((?:"|\')?(\d+)', found)
    check(f"the search for {FOUND_BY} finds {len(uids)} messages", 0 < len(uids) < len(archive.messages), found[:2000])
    text = browser.remote("search", _mbox=month[0], _q="ceralacca che non esiste", _headers="text", _scope="base")
    check("a search for words that are nowhere finds nothing", "add_message_row" not in text, text[:2000])
    shown = browser.get(_task="mail", _action="show", _mbox=month[0], _uid=uids[0]).decode()
    check("the message is shown", 'id="messagebody"' in shown, shown[:2000])
    digests = set()
    for uid in re.findall(r'this\.add_message_row\((?:"|\')?(\d+)', script):
        digests.add(hashlib.sha256(browser.get(_task="mail", _action="viewsource", _mbox=month[0], _uid=uid, _save="1", _token=browser.token)).hexdigest())
    check(f"the bytes of {len(digests)} messages are those that were journaled", digests == archive.digests(), f"{len(digests & archive.digests())} are the same")
    answer = browser.remote("delete", post=True, _mbox=month[0], _uid=uids[0])
    check("a deletion: " + (re.search(r'this\.display_message\("([^"]*)', answer) or [0, "no message"])[1], True)


def without(browser):
    """The archive is down: the user's own mail can still be read."""
    page = browser.get(_task="mail", _mbox="INBOX").decode()
    folders = set(re.findall(r'"id":"([^"]+)","name"', page.replace("\\/", "/")))
    check(f"while the archive is down, the INBOX opens; folders shown: {', '.join(sorted(folders))}", 'id="messagelist' in page and "INBOX" in folders, page[:2000])
    script = browser.remote("list", _mbox="INBOX")
    check("and its messages are listed", "set_rowcount" in script and '"error"' not in script, script[:2000])


if __name__ == "__main__":
    main()
