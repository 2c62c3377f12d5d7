// Package httpd is the journal and its settings over HTTP: one table of routes, behind whichever door the request came. It reads requests
// and writes answers; what it is asked to do is done by package archive.
//
// Admin is the door of the operator, which the sub-commands use over the admin socket: whoever can open that socket may do all of it, and
// names himself with who=WHO. What Metrics serves holds no mail and may be seen by a monitoring system.
//
// Routes lists what can be asked, with the parameters of each. An answer is JSON, one object a line where there are many, or the bytes of a
// message or a part. An error is {"error": "..."} with a status of 400 (bad request), 403 (not allowed), 404 (nothing there), 409 (the state
// of the mailbox is against it) or 500; one that comes in the middle of a list is its last line.
package httpd

import (
	"copialettere/journal"
	"copialettere/policy/archive"
	"copialettere/policy/pec/practice"
)

// Prefix stands before the path of every route.
const Prefix = "/api/v1"

// Route is one thing that can be asked or done.
type Route struct {
	Method string // GET changes nothing, POST does
	Path   string // behind Prefix
	// Right is what the actor must have the right to do. All but archive.RightOperate are about the mailbox that mailbox=ADDR names, which is
	// required then. Empty means whoever the door lets in.
	Right archive.Right
	// Record says that it goes on record under the name of the actor: the operator must give one, who=WHO.
	Record bool
	// Takes is the query beside mailbox=ADDR and who=WHO, with what may be absent in brackets.
	Takes string
	// Answer is the zero value of the type of each JSON object of the answer. Content means bytes that are no JSON.
	Answer any
	Many   bool   // any number of objects; otherwise one
	About  string // for people

	serve func(*api, *call) error
}

// Content is the Answer of a route that answers with the bytes of a message or of a part of one.
type Content struct{}

// Routes returns the table of all routes.
func Routes() []Route {
	const message = "folder=F&uid=N"
	return []Route{
		{"GET", "/mailboxes", archive.RightOperate, false, "", archive.Mailbox{}, true, "all mailboxes that were ever set up", (*api).mailboxes},
		{"GET", "/mailbox", archive.RightLook, false, "", archive.Mailbox{}, false, "one mailbox, with its changes", (*api).mailbox},
		{"GET", "/log", archive.RightLook, false, "", archive.Change{}, true, "its changes and acts, oldest first", (*api).log},
		{"GET", "/why", archive.RightLook, false, "[message_id=ID]", archive.Verdict{}, true, "what was decided, and why", (*api).why},
		{"GET", "/gaps", archive.RightLook, false, "", archive.Gap{}, true, "of what the archive holds nothing, and why", (*api).gaps},

		// These change a mailbox and answer with it.
		{"POST", "/mailbox/enable", archive.RightSet, true, "", archive.Mailbox{}, false, "turn the archive on", turn((*archive.Archive).Enable)},
		{"POST", "/mailbox/set", archive.RightSet, true, "set=KEY=VALUE[&set=...]", archive.Mailbox{}, false,
			"change settings, all or none; the error tells of all that is wrong", (*api).set},
		{"POST", "/mailbox/disable", archive.RightSet, true, "confirm=ADDR[&now=true]", archive.Mailbox{}, false,
			"close the archive; it can be restored in its grace, for which now leaves no time", (*api).disable},
		{"POST", "/mailbox/restore", archive.RightSet, true, "", archive.Mailbox{}, false, "take that back", turn((*archive.Archive).Restore)},
		{"POST", "/mailbox/hold", archive.RightHold, true, "reason=TEXT", archive.Mailbox{}, false, "place a legal hold on it", (*api).holdMailbox},
		{"POST", "/mailbox/release", archive.RightHold, true, "", archive.Mailbox{}, false, "lift it", turn((*archive.Archive).ReleaseMailbox)},

		{"GET", "/list", archive.RightRead, false, "[all=true]", EntryView{}, true,
			"its entries; with all, also those that a newer one superseded", (*api).list},
		{"GET", "/message", archive.RightRead, false, message, Content{}, false, "the bytes of a message", (*api).message},
		{"GET", "/parts", archive.RightRead, false, message, PartView{}, true, "its parts, those of enclosed messages included", (*api).parts},
		{"GET", "/part", archive.RightRead, false, message + "&part=P", Content{}, false,
			"the content of one of them, its transfer encoding undone", (*api).part},
		{"GET", "/practice", archive.RightRead, false, "[uid=N]", practice.Practice{}, true,
			"what the receipts of sent certified messages say", (*api).practice},

		// These do something with one message.
		{"POST", "/message/move", archive.RightHandle, true, message + "&to=FOLDER", ActView{}, false, "move it within its month", (*api).move},
		{"POST", "/message/delete", archive.RightHandle, true, message, ActView{}, false, "delete it", (*api).delete},
		{"POST", "/message/undelete", archive.RightHandle, true, message, ActView{}, false, "take that back", (*api).undelete},
		{"POST", "/message/hold", archive.RightHold, true, message + "&reason=TEXT", ActView{}, false, "place a legal hold on it", (*api).hold},
		{"POST", "/message/release", archive.RightHold, true, message + "&reason=TEXT", ActView{}, false, "lift it", (*api).release},

		{"GET", "/route", archive.RightOperate, false, "mailbox=ADDR", archive.RouteCheck{}, false,
			"whether Postfix routes the mail of a mailbox through the hook", (*api).checkRoute},
		{"GET", "/retention", archive.RightOperate, false, "", journal.Run{}, true, "the runs of the retention so far, oldest first", (*api).runs},
		{"POST", "/retention", archive.RightOperate, false, "[dry_run=true][&yes=true]", ExpireLine{}, true,
			"run the retention, or preview it: lines of progress, then the report", (*api).retention},
		{"GET", "/verify", archive.RightOperate, false, "", VerifyLine{}, true,
			"check the whole journal: lines of progress, then the report", (*api).verify},
		{"GET", "/stats", archive.RightOperate, false, "[mailbox=ADDR]", journal.FolderStats{}, true, "entries and bytes by folder", (*api).stats},
		{"POST", "/volume/forget", archive.RightOperate, true, "month=M&confirm=M", ForgottenView{}, false,
			"give up a month for good that is not there any more", (*api).forget},
		{"GET", "/version", "", false, "", VersionView{}, false, "the version of the program", (*api).version},
	}
}
