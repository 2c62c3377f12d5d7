// Package httpd offers the journal and its settings over HTTP: one table of routes, the same behind every door. It only reads requests and
// writes answers. Package archive does the work.
//
// Admin is the door of the operator. The sub-commands use it over the admin socket: whoever can open that socket may do everything, and gives a
// name with who=WHO. Metrics holds no mail; a monitoring system may see it.
//
// Routes lists the requests with their parameters. An answer is JSON, one object a line where there are many, or the bytes of a message or a
// part. An error is {"error": "..."} with the status 400 (bad request), 403 (not allowed), 404 (nothing there), 409 (the state of the mailbox
// forbids it) or 500. An error in the middle of a list is its last line.
package httpd

import (
	"copialettere/journal"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/pec/practice"
	"copialettere/policy/setup"
)

// Prefix comes before the path of every route.
const Prefix = "/api/v1"

// Route is one request that can be made.
type Route struct {
	Method string // GET changes nothing, POST does
	Path   string // after Prefix
	// Right is the right that the actor needs; empty where the door suffices. All but archive.RightOperate are about one mailbox, and
	// mailbox=ADDR must name it. Whoever has the right finds it in archive.Mailbox.May.
	Right archive.Right
	// Record says that the act goes on record under the name of the actor. The operator must give one: who=WHO.
	Record bool
	// Takes is the rest of the query, with optional parameters in brackets.
	Takes string
	// Answer is the zero value of the JSON objects of the answer; Content where the answer is no JSON.
	Answer any
	Many   bool   // any number of objects; otherwise one
	About  string // what it does, for people

	serve func(*api, *call) error
}

// Content is the Answer of a route that answers with the bytes of a message or of a part.
type Content struct{}

// Routes returns the table of all routes.
func Routes() []Route {
	const message = "folder=F&uid=N"
	const many = "[from=NAME][&domain=D][&set=KEY=VALUE][&dry_run=true]"
	const choice = "[account=archive|mailbox][&incoming=imap|pop3]"
	const messages = "folder=F&uid=SET" // as journal.ParseUIDs reads it: 5,7-20
	return []Route{
		{"GET", "/mailboxes", archive.RightOperate, false, "", archive.Mailbox{}, true, "all mailboxes that were ever set up", (*api).mailboxes},
		{"GET", "/mailbox", archive.RightLook, false, "", archive.Mailbox{}, false, "one mailbox, with its changes", (*api).mailbox},
		{"GET", "/log", archive.RightLook, false, "", archive.Change{}, true, "its changes and acts, oldest first", (*api).log},
		{"GET", "/access", archive.RightLook, false, "", auth.Access{}, true, "who signed in to it, and who failed to, oldest first", (*api).access},
		{"GET", "/why", archive.RightLook, false, "[message_id=ID]", archive.Verdict{}, true, "what was decided, and why", (*api).why},
		{"GET", "/gaps", archive.RightLook, false, "", archive.Gap{}, true, "what the archive lacks, and why", (*api).gaps},

		// These change a mailbox and answer with it.
		{"POST", "/mailbox/enable", archive.RightArchive, true, "", archive.Mailbox{}, false, "turn the archive on", turn((*archive.Archive).Enable)},
		{"POST", "/mailbox/pause", archive.RightPause, true, "", archive.Mailbox{}, false, "stop archiving for a time; nothing is erased",
			turn((*archive.Archive).Pause)},
		{"POST", "/mailbox/resume", archive.RightPause, true, "", archive.Mailbox{}, false, "undo pause", turn((*archive.Archive).Resume)},
		{"POST", "/mailbox/set", archive.RightSet, true, "set=KEY=VALUE[&set=...]", archive.Mailbox{}, false,
			"change settings, all or none; the error lists everything that is wrong", (*api).set},
		{"POST", "/mailbox/confirm", archive.RightSet, true, "[code=CODE][&confirmed=true]", archive.Mailbox{}, false,
			"put its new address for notices in force, with the code sent there or on the word of the operator", (*api).confirmNotify},
		{"POST", "/mailbox/disable", archive.RightArchive, true, "confirm=ADDR[&now=true]", archive.Mailbox{}, false,
			"close the archive; it can be restored during its grace; with now, there is none", (*api).disable},
		{"POST", "/mailbox/restore", archive.RightArchive, true, "", archive.Mailbox{}, false, "undo disable", turn((*archive.Archive).Restore)},
		{"POST", "/mailbox/hold", archive.RightHold, true, "reason=TEXT", archive.Mailbox{}, false, "place a legal hold on it", (*api).holdMailbox},
		{"POST", "/mailbox/release", archive.RightHold, true, "", archive.Mailbox{}, false, "lift the hold", turn((*archive.Archive).ReleaseMailbox)},
		{"POST", "/mailbox/rename", archive.RightAddress, true, "to=ADDR", archive.Mailbox{}, false,
			"give it another address; its archive goes along, and the answer is the mailbox under that address", (*api).rename},
		{"POST", "/mailbox/hand-over", archive.RightAddress, true, "confirm=ADDR", archive.Mailbox{}, false,
			"give its address to another person, who starts a new archive; the old one is closed and kept under a name of its own", (*api).handOver},

		// These change many mailboxes and answer with each. With from, the body has the lines of archive.Provision, and from is their name in errors.
		{"POST", "/mailboxes/enable", archive.RightOperate, true, many, archive.Provisioned{}, true,
			"turn many archives on, and change settings; the error lists everything that is wrong, and then nothing is changed", provision(true)},
		{"POST", "/mailboxes/set", archive.RightOperate, true, many, archive.Provisioned{}, true, "change settings of many mailboxes", provision(false)},
		{"GET", "/usage", archive.RightOperate, false, "[domain=D]", archive.Usage{}, true, "what each mailbox takes, for billing", (*api).usage},
		{"GET", "/usage/months", archive.RightLook, false, "", archive.MonthUsage{}, true, "what a mailbox holds by month", (*api).monthUsage},

		{"GET", "/app-passwords", archive.RightLook, false, "", archive.AppPassword{}, true, "its app passwords, without the passwords", (*api).appPasswords},
		{"POST", "/app-password/add", archive.RightSignIn, true, "name=NAME", archive.AppPassword{}, false,
			"make an app password, which only this answer has", (*api).addAppPassword},
		{"POST", "/app-password/revoke", archive.RightRevoke, true, "name=NAME", archive.AppPassword{}, false, "end an app password",
			(*api).revokeAppPassword},
		{"GET", "/second-factor", archive.RightLook, false, "", archive.SecondFactor{}, false, "whether its second factor is on", (*api).secondFactor},
		{"POST", "/second-factor/begin", archive.RightSignIn, true, "[code=CODE]", archive.SecondFactor{}, false,
			"make a new secret, which only this answer has; an owner whose second factor is on gives a code of it", (*api).beginSecondFactor},
		{"POST", "/second-factor/confirm", archive.RightSignIn, true, "code=CODE", archive.SecondFactor{}, false,
			"put the new secret in force by a code of it; only this answer has the recovery codes", (*api).confirmSecondFactor},
		{"POST", "/second-factor/end", archive.RightRevoke, true, "[code=CODE]", archive.SecondFactor{}, false,
			"turn the second factor off; an owner gives a code of it, or a recovery code", (*api).endSecondFactor},

		{"GET", "/delegates", archive.RightLook, false, "", archive.Delegate{}, true, "who may read it beside its owner, and who is asked for",
			(*api).delegates},
		{"POST", "/delegate/add", archive.RightDelegate, true, "person=ADDR&until=TIME[&as=LOGIN]", archive.Delegate{}, false,
			"let somebody read it until a day or a time of RFC 3339; with as, LOGIN does: the body has its password, and a code where it has a second factor, each on a line", (*api).addDelegate},
		{"POST", "/delegate/revoke", archive.RightRevoke, true, "person=ADDR", archive.Delegate{}, false, "end that, or take back that it was asked for",
			(*api).revokeDelegate},

		{"GET", "/tokens", archive.RightOperate, false, "[domain=D]", archive.Token{}, true, "the keys of programs to this interface, without the secrets", (*api).tokens},
		{"POST", "/token/add", archive.RightOperate, true, "name=NAME&domain=D&scope=read|write[&until=TIME]", archive.Token{}, false,
			"make a token, which only this answer has", (*api).addToken},
		{"POST", "/token/revoke", archive.RightOperate, true, "name=NAME", archive.Token{}, false, "end a token", (*api).revokeToken},

		{"GET", "/set-up", archive.RightLook, false, choice, setup.Parameters{}, false, "with what a mail program is set up for its archive or for the live mailbox",
			(*api).setUp},
		{"GET", "/set-up/profile", archive.RightLook, false, choice, Content{}, false, "the same as a configuration profile of Apple", (*api).profile},
		{"POST", "/set-up/link", archive.RightLook, true, choice, archive.SetUpLink{}, false,
			"make a link to that profile, with its QR code; it works once, for 15 minutes, without a sign-in", (*api).setUpLink},

		{"GET", "/list", archive.RightRead, false, "[all=true]", EntryView{}, true,
			"its entries; with all, also the superseded ones", (*api).list},
		{"GET", "/message", archive.RightRead, false, message, Content{}, false, "the bytes of a message", (*api).message},
		{"GET", "/parts", archive.RightRead, false, message, PartView{}, true, "its parts, those of enclosed messages included", (*api).parts},
		{"GET", "/part", archive.RightRead, false, message + "&part=P", Content{}, false,
			"the content of one part, its transfer encoding undone", (*api).part},
		{"GET", "/practice", archive.RightRead, false, "[uid=N]", practice.Practice{}, true,
			"what the receipts of sent certified messages say", (*api).practice},

		// These act on messages of one folder and answer with the act.
		{"POST", "/message/move", archive.RightMove, true, messages + "&to=FOLDER", ActView{}, false, "move them within their month", (*api).move},
		{"POST", "/message/delete", archive.RightDelete, true, messages, ActView{}, false, "delete them; what is under a legal hold stays", (*api).delete},
		{"POST", "/message/undelete", archive.RightDelete, true, messages, ActView{}, false, "undo delete, for 72 hours", (*api).undelete},
		{"POST", "/folder/empty", archive.RightDelete, true, "folder=F", ActView{}, false, "delete all messages of a folder, which stays", (*api).empty},
		{"POST", "/message/hold", archive.RightHold, true, message + "&reason=TEXT", ActView{}, false, "place a legal hold on it", (*api).hold},
		{"POST", "/message/release", archive.RightHold, true, message + "&reason=TEXT", ActView{}, false, "lift the hold", (*api).release},

		{"GET", "/privacy", archive.RightOperate, false, "mailbox=ADDR[&others=true]", archive.Holding{}, true,
			"what is held of a person, why and until when; with others, the archives of others are searched too", (*api).privacy},
		{"GET", "/route", archive.RightOperate, false, "mailbox=ADDR", archive.RouteCheck{}, false,
			"whether Postfix routes the mail of a mailbox through the hook", (*api).checkRoute},
		{"GET", "/retention", archive.RightOperate, false, "", journal.Run{}, true, "the runs of the retention so far, oldest first", (*api).runs},
		{"POST", "/retention", archive.RightOperate, false, "[dry_run=true][&yes=true]", ExpireLine{}, true,
			"run the retention, or preview it: lines of progress, then the report", (*api).retention},
		{"GET", "/verify", archive.RightOperate, false, "", VerifyLine{}, true,
			"check the whole journal: lines of progress, then the report", (*api).verify},
		{"POST", "/notice/quota-warning", archive.RightOperate, false, "mailbox=ADDR&percent=N", archive.QuotaWarning{}, false,
			"tell the owner that the live mailbox has reached a percentage of its quota", (*api).warnQuota},
		{"GET", "/stats", archive.RightOperate, false, "[mailbox=ADDR]", journal.FolderStats{}, true, "entries and bytes by folder", (*api).stats},
		{"POST", "/volume/forget", archive.RightOperate, true, "month=M&confirm=M", ForgottenView{}, false,
			"give up for good a month whose volume is lost", (*api).forget},
		{"GET", "/labels", "", false, "", LabelView{}, true, "what the names in the answers mean, in Italian and English", (*api).labels},
		{"GET", "/version", "", false, "", VersionView{}, false, "the version of the program", (*api).version},
	}
}
