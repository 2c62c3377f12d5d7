#!/usr/bin/env python3
"""Opens an archive with Thunderbird, without a screen: opens a folder, searches on the server, compares the bytes of its messages, finds deletion
disabled, and is refused by the outgoing server. It drives Thunderbird by Marionette, the interface that its own tests use.

    apt-get install thunderbird xvfb libnss3-tools
    make build
    contrib/clients/thunderbird.py
"""

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse

from archive import FOUND_BY, PASSWORD, USER, Archive, check, free_port, parser, wait_for

PREFS = """
user_pref("mail.accountmanager.accounts", "account1,account2");
user_pref("mail.accountmanager.defaultaccount", "account1");
user_pref("mail.accountmanager.localfoldersserver", "server2");
user_pref("mail.account.account1.identities", "id1");
user_pref("mail.account.account1.server", "server1");
user_pref("mail.account.account2.server", "server2");
user_pref("mail.identity.id1.fullName", "Mario");
user_pref("mail.identity.id1.useremail", "{user}");
user_pref("mail.identity.id1.smtpServer", "smtp1");
user_pref("mail.identity.id1.fcc", false);
user_pref("mail.server.server1.type", "imap");
user_pref("mail.server.server1.hostname", "localhost");
user_pref("mail.server.server1.port", {imap});
user_pref("mail.server.server1.socketType", 3);
user_pref("mail.server.server1.authMethod", 3);
user_pref("mail.server.server1.userName", "{user}");
user_pref("mail.server.server1.name", "Archivio");
user_pref("mail.server.server1.login_at_startup", false);
user_pref("mail.server.server1.offline_download", false);
user_pref("mail.server.server2.type", "none");
user_pref("mail.server.server2.hostname", "Local Folders");
user_pref("mail.server.server2.userName", "nobody");
user_pref("mail.smtpservers", "smtp1");
user_pref("mail.smtp.defaultserver", "smtp1");
user_pref("mail.smtpserver.smtp1.hostname", "localhost");
user_pref("mail.smtpserver.smtp1.port", {submission});
user_pref("mail.smtpserver.smtp1.try_ssl", 3);
user_pref("mail.smtpserver.smtp1.authMethod", 3);
user_pref("mail.smtpserver.smtp1.username", "{user}");
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.spotlight.firstRunDone", true);
user_pref("mail.winsearch.firstRunDone", true);
user_pref("mailnews.start_page.enabled", false);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("app.update.auto", false);
user_pref("app.update.enabled", false);
user_pref("app.donation.eoy.version.viewed", 999);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("marionette.port", {marionette});
"""

# The scripts run in Thunderbird. Each gets its arguments, and calls the last one with its result.
HEAD = """
const done = arguments[arguments.length - 1];
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const tabmail = Services.wm.getMostRecentWindow("mail:3pane").document.getElementById("tabmail");
const folderOf = uri => MailServices.folderLookup.getFolderForURL(uri);
const messagesOf = folder => [...folder.messages];
"""

LOGIN = """
for (const [host, uri] of arguments[2]) {
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init(uri, null, uri, arguments[0], arguments[1], "", "");
  await Services.logins.addLoginAsync(login);
}
done(true);
"""

OPEN = """
const folder = folderOf(arguments[0]);
if (!folder) { done(null); return; }
tabmail.currentAbout3Pane.displayFolder(arguments[0]);
folder.updateFolder(null);
done(folder.getTotalMessages(false));
"""

FOLDERS = """
const names = [];
for (const folder of MailServices.accounts.getAccount("account1").incomingServer.rootFolder.descendants) { names.push(folder.URI); }
done(names);
"""

SEARCH = """
const folder = folderOf(arguments[0]);
const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
const term = session.createTerm();
term.attrib = arguments[2];
term.op = Ci.nsMsgSearchOp.Contains;
const value = term.value;
value.attrib = term.attrib;
value.str = arguments[1];
term.value = value;
term.booleanAnd = true;
session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder);
session.appendTerm(term);
const found = [];
session.registerListener({
  QueryInterface: ChromeUtils.generateQI(["nsIMsgSearchNotify"]),
  onSearchHit(header) { found.push(header.mime2DecodedSubject); },
  onSearchDone(status) { done([status, found]); },
  onNewSearch() {},
}, Ci.nsIMsgSearchSession.allNotifications);
session.search(null);
"""

READ = """
const folder = folderOf(arguments[0]);
const sources = [];
for (const header of messagesOf(folder)) {
  const uri = folder.getUriForMsg(header);
  sources.push(await new Promise((resolve, reject) => {
    let text = "";
    MailServices.messageServiceFromURI(uri).streamMessage(uri, {
      QueryInterface: ChromeUtils.generateQI(["nsIStreamListener"]),
      onStartRequest() {},
      onStopRequest(request, status) { resolve(btoa(text)); },
      onDataAvailable(request, stream, offset, count) {
        const binary = Cc["@mozilla.org/binaryinputstream;1"].createInstance(Ci.nsIBinaryInputStream);
        binary.setInputStream(stream);
        text += binary.readBytes(count);
      },
    }, null, null, false, "", false);
  }));
}
done(sources);
"""

DELETE = """
const about3Pane = tabmail.currentAbout3Pane;
about3Pane.threadTree.selectedIndex = 0;
await new Promise(resolve => setTimeout(resolve, 1500));
done([about3Pane.threadTree.selectedIndex, about3Pane.commandController.isCommandEnabled("cmd_delete"), about3Pane.gFolder.canDeleteMessages]);
"""

SEND = """
const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
fields.from = arguments[0];
fields.to = "altro@beta.test";
fields.subject = "prova";
fields.body = "prova";
const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
params.composeFields = fields;
params.identity = MailServices.accounts.getIdentity("id1");
const file = Services.dirsvc.get("ProfD", Ci.nsIFile);
file.append("prova-" + Date.now() + ".eml");
file.createUnique(Ci.nsIFile.NORMAL_FILE_TYPE, 0o600);
await IOUtils.writeUTF8(file.path, "From: " + arguments[0] + "\\r\\nTo: altro@beta.test\\r\\nSubject: prova\\r\\n\\r\\nprova\\r\\n");
const server = MailServices.outgoingServer.getServerByKey("smtp1");
server.sendMailMessage(file, MailServices.headerParser.parseEncodedHeaderW("altro@beta.test"), [], params.identity, arguments[0], "", null, false, "<x@alpha.test>", {
  QueryInterface: ChromeUtils.generateQI(["nsIMsgOutgoingListener"]),
  onSendStart() {},
  onSendStop(uri, status, security, message) { done([status >>> 0, String(message)]); },
});
"""


class Marionette:
    """Thunderbird's interface for tests: JSON with its length in front, over TCP."""

    def __init__(self, port):
        self.socket, self.number = socket.create_connection(("127.0.0.1", port), 60), 0
        self.socket.settimeout(90)
        self.read()
        self.ask("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"pageLoadStrategy": "none", "unhandledPromptBehavior": "ignore"}}})
        self.ask("Marionette:SetContext", {"value": "chrome"})
        self.ask("WebDriver:SetTimeouts", {"script": 60000})

    def read(self):
        length = b""
        while not length.endswith(b":"):
            length += self.socket.recv(1)
        text = b""
        while len(text) < int(length[:-1]):
            text += self.socket.recv(int(length[:-1]) - len(text))
        return json.loads(text)

    def ask(self, command, parameters):
        self.number += 1
        text = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(str(len(text)).encode() + b":" + text)
        _, _, error, result = self.read()
        if error and error["error"] == "unexpected alert open" and command != "WebDriver:GetAlertText":
            raise SystemExit(f"Thunderbird shows: {self.ask('WebDriver:GetAlertText', {})['value']}")
        if error:
            raise SystemExit(f"{command}: {error['error']}: {error['message']}")
        return result

    def script(self, text, *arguments):
        body = f"{HEAD}\n(async (...arguments) => {{ {text} }})(...arguments).catch(e => done('error: ' + e + e.stack));"
        value = self.ask("WebDriver:ExecuteAsyncScript", {"script": body, "args": list(arguments), "newSandbox": True})["value"]
        if isinstance(value, str) and value.startswith("error: "):
            raise SystemExit(value)
        return value


def start(archive):
    profile = archive.path("profile")
    os.makedirs(profile)
    subprocess.run(["certutil", "-N", "-d", "sql:" + profile, "--empty-password"], check=True)
    subprocess.run(["certutil", "-A", "-d", "sql:" + profile, "-n", "archive", "-t", "CT,,", "-i", archive.authority], check=True)
    port = free_port()
    with open(os.path.join(profile, "user.js"), "w") as f:
        f.write(re.sub(r"\{(user|imap|submission|marionette)\}", lambda m: str({"user": USER, "imap": archive.imap, "submission": archive.submission,
                                                                               "marionette": port}[m.group(1)]), PREFS))
    display = next(n for n in range(77, 200) if not os.path.exists(f"/tmp/.X{n}-lock"))
    archive.start(["Xvfb", f":{display}", "-screen", "0", "1280x860x24"], "xvfb.log")
    time.sleep(1)
    environment = {**os.environ, "DISPLAY": f":{display}", "HOME": archive.path("home"), "LANG": "it_IT.UTF-8", "MOZ_CRASHREPORTER_DISABLE": "1"}
    os.makedirs(environment["HOME"])
    archive.start(["thunderbird", "--profile", profile, "--marionette", "--remote-allow-system-access"], "thunderbird.log", env=environment)
    wait_for(port, 90)
    return Marionette(port)


def until(what, ask, good, seconds=60):
    end = time.time() + seconds
    while True:
        got = ask()
        if good(got) or time.time() > end:
            check(what, good(got), got)
            return got
        time.sleep(1)


def main():
    version = subprocess.run(["thunderbird", "--version"], capture_output=True, text=True).stdout.strip()
    with Archive(parser(__doc__).parse_args()) as archive:
        thunderbird = start(archive)
        print(f"      {version}")
        thunderbird.script(LOGIN, USER, PASSWORD, [["localhost", "imap://localhost"], ["localhost", "smtp://localhost"]])
        root = f"imap://{urllib.parse.quote(USER)}@localhost"
        thunderbird.script(OPEN, root + "/INBOX")
        month = until("folders are shown", lambda: [f for f in thunderbird.script(FOLDERS) if re.search(r"/INBOX/\d{4}-\d{2}$", f)], bool)[0]
        print("      " + ", ".join(urllib.parse.unquote(f.rsplit("@localhost/", 1)[1]) for f in thunderbird.script(FOLDERS)))
        until(f"{len(archive.messages)} messages are in {month.rsplit('/', 1)[1]}", lambda: thunderbird.script(OPEN, month), lambda n: n == len(archive.messages))
        subject, body = 0, 2  # nsMsgSearchAttrib
        status, found = thunderbird.script(SEARCH, month, FOUND_BY, subject)
        check(f"the search on the server for {FOUND_BY} in subjects finds {found}", status == 0 and 0 < len(found) < len(archive.messages))
        status, found = thunderbird.script(SEARCH, month, "balle di lana", body)
        check(f"in the text, {found}", status == 0 and found)
        sources = thunderbird.script(READ, month)
        digests = {hashlib.sha256(base64.b64decode(s)).hexdigest() for s in sources}
        check(f"the bytes of {len(digests & archive.digests())} of {len(sources)} messages are those that were journaled", digests == archive.digests())
        selected, enabled, can = thunderbird.script(DELETE)
        check("deletion is disabled", selected == 0 and not enabled and not can, f"{selected}, {enabled}, {can}")
        answer = thunderbird.script(SEND, USER)
        check(f"sending is refused: {answer}", isinstance(answer, list) and answer[0] != 0, answer)
        archive.whole()


if __name__ == "__main__":
    main()
