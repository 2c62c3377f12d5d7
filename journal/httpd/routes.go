// Package httpd offers the journal and its settings over HTTP: one table of routes, the same behind every door. It only reads requests and
// writes answers. Package archive does the work.
//
// Admin is the door of the operator. The sub-commands use it over the admin socket: whoever can open that socket may do everything, and gives a
// name with who=WHO. Metrics holds no mail; a monitoring system may see it.
//
// Routes lists the requests with their parameters. What is in braces in a path is one segment of it, percent-encoded: a folder is
// INBOX%2F2026-11. What a request changes comes as a JSON object in its body.
//
// An answer is one JSON object; where there are many, {"items": [...]}, with "next" where a further page follows. It comes as it is made, so an
// error in the middle is there as "problem" beside the items. To those who accept application/x-ndjson many come one a line, and that is the
// last line, {"problem": {...}}. The bytes of a message or a part come as they are. An error before that is a Problem (RFC 9457) with its status:
// see problems.
package httpd

import (
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/export/jobs"
	"copialettere/journal/export/pull"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/pec/practice"
	"copialettere/policy/setup"
)

// Prefix comes before the path of every route.
const Prefix = "/api/v1"

// Route is one request that can be made.
type Route struct {
	Method string // GET changes nothing, the others do
	Path   string // after Prefix, a pattern of http.ServeMux
	// Right is the right that the actor needs; empty where the door suffices. It is about the mailbox in the path. Without one there,
	// archive.RightOperate is about all, and any other right about the mailboxes of a domain. Whoever has the right finds it in archive.Mailbox.May.
	Right archive.Right
	// Record says that the act goes on record under the name of the actor. The operator must give one: who=WHO.
	Record bool
	// Takes is the query, with optional parameters in brackets.
	Takes string
	// Body is the zero value of the JSON object in the body; Lines where the body has lines of text, Content where it has bytes; nil where there is none.
	Body any
	// Answer is the zero value of the JSON objects of the answer; Content where the answer is no JSON.
	Answer any
	Many   bool   // any number of objects; otherwise one
	About  string // what it does, for people

	serve func(*api, *call) error
}

// ofMailbox reports whether the route is about the mailbox in its path, and ofDomain whether it is about the mailboxes of a domain.
func (r *Route) ofMailbox() bool { return strings.HasPrefix(r.Path, one) }
func (r *Route) ofDomain() bool {
	return !r.ofMailbox() && r.Right != "" && r.Right != archive.RightOperate
}

// takesJSON reports whether the body is a JSON object.
func (r *Route) takesJSON() bool {
	switch r.Body.(type) {
	case nil, Lines, Content:
		return false
	}
	return true
}

// Content is the Answer of a route that answers with bytes of a media type, such as those of a message, and the Body of one that takes such.
type Content struct{ Type string }

// streams reports whether the route answers with Content.
func (r *Route) streams() bool {
	_, ok := r.Answer.(Content)
	return ok
}

// Lines is the Body of a route that takes the lines of archive.Provision.
type Lines struct{}

// Routes returns the table of all routes.
func Routes() []Route {
	return slices.Concat(mailboxRoutes(), personRoutes(), messageRoutes(), pullRoutes(), operatorRoutes())
}

// one is the path of what is about one mailbox, and message that of a message in it.
const (
	one     = "/mailboxes/{mailbox}"
	message = one + "/messages/{folder}/{uid}"
)

// mailboxRoutes are about mailboxes and their settings.
func mailboxRoutes() []Route {
	const many = "[domain=D][&set=KEY=VALUE][&from=NAME][&dry_run=true]"
	return []Route{
		{"GET", "/mailboxes", archive.RightLook, false, "[domain=D]", nil, archive.Mailbox{}, true, "all mailboxes that were ever set up, or those of a domain",
			(*api).mailboxes},
		{"GET", one, archive.RightLook, false, "", nil, archive.Mailbox{}, false, "one mailbox, with its changes", (*api).mailbox},
		{"GET", one + "/settings", archive.RightLook, false, "", nil, archive.Setting{}, true, "its settings, with their values in words", (*api).settings},
		{"GET", one + "/log", archive.RightLook, false, "", nil, archive.Change{}, true, "its changes and acts, oldest first", (*api).log},
		{"GET", one + "/why", archive.RightLook, false, "[message_id=ID]", nil, archive.Verdict{}, true, "what was decided, and why", (*api).why},
		{"GET", one + "/gaps", archive.RightLook, false, "", nil, archive.Gap{}, true, "what the archive lacks, and why", (*api).gaps},
		{"GET", one + "/folders", archive.RightLook, false, "", nil, journal.FolderStats{}, true, "entries and bytes by folder", (*api).folders},
		{"GET", one + "/usage", archive.RightLook, false, "", nil, archive.MonthUsage{}, true, "what it holds by month", (*api).monthUsage},
		{"GET", one + "/retention", archive.RightLook, false, "[retention=MONTHS]", nil, archive.RetentionPreview{}, false,
			"what its retention, or another one, would delete now", (*api).previewRetention},

		// These change a mailbox and answer with it.
		{"PATCH", one + "/settings", archive.RightSet, true, "", Assignments{}, archive.Mailbox{}, false,
			"change settings, all or none; the error lists everything that is wrong", (*api).set},
		{"POST", one + "/enable", archive.RightArchive, true, "", nil, archive.Mailbox{}, false, "turn the archive on", turn((*archive.Archive).Enable)},
		{"POST", one + "/pause", archive.RightPause, true, "", nil, archive.Mailbox{}, false, "stop archiving for a time; nothing is erased",
			turn((*archive.Archive).Pause)},
		{"POST", one + "/resume", archive.RightPause, true, "", nil, archive.Mailbox{}, false, "undo pause", turn((*archive.Archive).Resume)},
		{"POST", one + "/confirm", archive.RightSet, true, "", NoticeConfirmation{}, archive.Mailbox{}, false,
			"put its new address for notices in force, with the code sent there or on the word of the operator", (*api).confirmNotify},
		{"POST", one + "/disable", archive.RightArchive, true, "", Disable{}, archive.Mailbox{}, false,
			"close the archive; it can be restored during its grace; with now, there is none", (*api).disable},
		{"POST", one + "/restore", archive.RightArchive, true, "", nil, archive.Mailbox{}, false, "undo disable", turn((*archive.Archive).Restore)},
		{"POST", one + "/hold", archive.RightHold, true, "", Reason{}, archive.Mailbox{}, false, "place a legal hold on it", (*api).holdMailbox},
		{"POST", one + "/release", archive.RightHold, true, "", nil, archive.Mailbox{}, false, "lift the hold", turn((*archive.Archive).ReleaseMailbox)},
		{"POST", one + "/rename", archive.RightAddress, true, "", NewAddress{}, archive.Mailbox{}, false,
			"give it another address; its archive goes along, and the answer is the mailbox under that address", (*api).rename},
		{"POST", one + "/hand-over", archive.RightAddress, true, "", Confirmation{}, archive.Mailbox{}, false,
			"give its address to another person, who starts a new archive; the old one is closed and kept under a name of its own", (*api).handOver},

		// These change many mailboxes and answer with each. With from, the body has the lines of archive.Provision, and from is their name in errors.
		{"POST", "/mailboxes/enable", archive.RightArchive, true, many, Lines{}, archive.Provisioned{}, true,
			"turn many archives on, and change settings; the error lists everything that is wrong, and then nothing is changed", provision(true)},
		{"POST", "/mailboxes/set", archive.RightSet, true, many, Lines{}, archive.Provisioned{}, true, "change settings of many mailboxes", provision(false)},
	}
}

// personRoutes are about who may open a mailbox, and with what.
func personRoutes() []Route {
	const choice = "[account=archive|mailbox][&incoming=imap|pop3]"
	return []Route{
		{"GET", one + "/access", archive.RightLook, false, "", nil, auth.Access{}, true, "who signed in to it, and who failed to, oldest first", (*api).access},
		{"GET", one + "/app-passwords", archive.RightLook, false, "", nil, archive.AppPassword{}, true, "its app passwords, without the passwords",
			(*api).appPasswords},
		{"POST", one + "/app-passwords", archive.RightSignIn, true, "", NewAppPassword{}, archive.AppPassword{}, false,
			"make an app password, which only this answer has", (*api).addAppPassword},
		{"DELETE", one + "/app-passwords/{name}", archive.RightRevoke, true, "", nil, archive.AppPassword{}, false, "end an app password",
			(*api).revokeAppPassword},
		{"GET", one + "/second-factor", archive.RightLook, false, "", nil, archive.SecondFactor{}, false, "whether its second factor is on",
			(*api).secondFactor},
		{"POST", one + "/second-factor/begin", archive.RightSignIn, true, "", Code{}, archive.SecondFactor{}, false,
			"make a new secret, which only this answer has; an owner whose second factor is on gives a code of it", (*api).beginSecondFactor},
		{"POST", one + "/second-factor/confirm", archive.RightSignIn, true, "", Code{}, archive.SecondFactor{}, false,
			"put the new secret in force by a code of it; only this answer has the recovery codes", (*api).confirmSecondFactor},
		{"POST", one + "/second-factor/end", archive.RightRevoke, true, "", Code{}, archive.SecondFactor{}, false,
			"turn the second factor off; an owner gives a code of it, or a recovery code", (*api).endSecondFactor},

		{"POST", one + "/sign-in", archive.RightSignIn, true, "", nil, archive.SignInLink{}, false,
			"make a link that signs its owner in to the pages once, within a minute", (*api).signInLink},

		{"GET", one + "/delegates", archive.RightLook, false, "", nil, archive.Delegate{}, true, "who may read it beside its owner, and who is asked for",
			(*api).delegates},
		{"POST", one + "/delegates", archive.RightDelegate, true, "", NewDelegate{}, archive.Delegate{}, false,
			"let somebody read it until a day or a time; an operator may ask in the name of somebody who gives a password", (*api).addDelegate},
		{"DELETE", one + "/delegates/{person}", archive.RightRevoke, true, "", nil, archive.Delegate{}, false,
			"end that, or take back that it was asked for", (*api).revokeDelegate},

		{"GET", one + "/set-up", archive.RightLook, false, choice, nil, setup.Parameters{}, false,
			"with what a mail program is set up for its archive or for the live mailbox", (*api).setUp},
		{"GET", one + "/set-up/profile", archive.RightLook, false, choice, nil, Content{setup.ProfileType}, false, "the same as a configuration profile of Apple", (*api).profile},
		{"POST", one + "/set-up/link", archive.RightLook, true, "", SetUpChoice{}, archive.SetUpLink{}, false,
			"make a link to that profile, with its QR code; it works once, for 15 minutes, without a sign-in", (*api).setUpLink},
	}
}

// pullRoutes are about the import from accounts on other servers.
func pullRoutes() []Route {
	const pulls = one + "/pulls"
	return []Route{
		{"POST", one + "/pull", archive.RightImport, true, "", pull.Once{}, pull.Result{}, true,
			"import mail of an IMAP account, and tell what became of each message; the same again fetches only what has come", (*api).pullOnce},
		{"GET", pulls, archive.RightLook, false, "", nil, pull.Pull{}, true, "the profiles by which mail is imported from IMAP accounts, without the passwords",
			(*api).pulls},
		{"POST", pulls, archive.RightImport, true, "", pull.New{}, pull.Pull{}, false, "make a profile; its password is kept sealed, and no answer has it",
			(*api).addPull},
		{"POST", pulls + "/{name}/test", archive.RightImport, true, "", nil, pull.Found{}, true, "sign in by a profile, and list the folders of its account",
			(*api).testPull},
		{"POST", pulls + "/{name}/run", archive.RightImport, true, "", nil, pull.Result{}, true, "run a profile, and tell what became of each message",
			(*api).runPull},
		{"DELETE", pulls + "/{name}", archive.RightRevoke, true, "", nil, pull.Pull{}, false, "remove a profile; what it brought stays", (*api).removePull},
	}
}

// messageRoutes are about the messages of a mailbox.
func messageRoutes() []Route {
	const folder = one + "/messages/{folder}"
	return []Route{
		{"GET", one + "/entries", archive.RightRead, false, "[all=true][&folder=F][&since=TIME][&until=TIME][&newest=N][&after=N]", nil, EntryView{}, true,
			"its entries, by month, folder and UID, or with newest the newest first; with all, also the superseded ones", (*api).list},
		{"GET", one + "/preservation", archive.RightRead, false, "", nil, archive.Preserved{}, true,
			"its packages for legal preservation, oldest first, with the receipts that came back", (*api).preservation},
		{"GET", one + "/messages", archive.RightRead, false, "[q=QUERY][&folder=F][&after=NEXT][&limit=N]", nil, EntryView{}, true,
			"a page of its messages, newest first, or of those that a search finds", (*api).messages},
		{"GET", one + "/deleted", archive.RightRead, false, "[after=NEXT][&limit=N]", nil, DeletedView{}, true,
			"a page of what was deleted by hand and can be brought back, the last deleted first", (*api).deleted},
		{"GET", message, archive.RightRead, false, "", nil, EntryView{}, false, "the entry of a message", (*api).entry},
		{"GET", message + "/raw", archive.RightRead, false, "", nil, Content{messageType}, false, "the bytes of a message", (*api).message},
		{"GET", folder + "/raw", archive.RightRead, false, "uids=UIDS", nil, Content{messagesType}, false,
			"the bytes of messages of one folder, each a part (RFC 2046) whose Content-Location is UID/raw; what is not there or cannot be read is left out",
			(*api).messagesRaw},
		{"GET", message + "/parts", archive.RightRead, false, "", nil, PartView{}, true, "its parts, those of enclosed messages included", (*api).parts},
		{"GET", message + "/parts/{part}", archive.RightRead, false, "", nil, Content{partType}, false, "the content of one part, its transfer encoding undone",
			(*api).part},
		{"POST", message + "/bundle", archive.RightRead, true, "", BundleRequest{}, Content{bundleType}, false,
			"an evidence bundle of a message, or of the practice that it belongs to: a ZIP, for the record too", (*api).bundle},
		{"POST", one + "/export", archive.RightRead, true, "", ExportRequest{}, export.Line{}, true,
			"list the messages to be exported, and the gaps of their time, for the record too", (*api).export},
		{"GET", one + "/exports", archive.RightRead, false, "", nil, jobs.Job{}, true,
			"the ZIPs that the daemon writes or has written in the background, the last one asked for first", (*api).exports},
		{"POST", one + "/exports", archive.RightRead, true, "", ZIPRequest{}, jobs.Job{}, false,
			"have messages written into a ZIP in the background", (*api).startExport},
		{"GET", one + "/exports/{export}", archive.RightRead, false, "", nil, jobs.Job{}, false, "how far that is", ofExport((*jobs.Jobs).Get)},
		{"DELETE", one + "/exports/{export}", archive.RightRead, true, "", nil, jobs.Job{}, false, "stop that, or remove the ZIP", ofExport((*jobs.Jobs).Remove)},
		{"GET", one + "/exports/{export}/zip", archive.RightRead, false, "", nil, Content{zipType}, false,
			"the ZIP, or the parts of it that Range asks for, until it expires", (*api).exportZIP},
		{"POST", one + "/import", archive.RightImport, true, "[folder=F][&date=TIME][&source=TEXT][&from=TEXT][&quoting=none|undecidable|mboxrd][&dry_run=true]",
			Content{messageType}, archive.Kept{}, false,
			"import the message in the body, unless the mailbox has the same bytes; from is what the log of the mailbox says, once for many messages", (*api).importMessage},
		{"GET", one + "/practices", archive.RightRead, false, "[uid=N][&message_id=ID]", nil, practice.Practice{}, true,
			"what the receipts of sent certified messages say", (*api).practice},

		// These act on messages of one folder and answer with the act.
		{"POST", folder + "/move", archive.RightMove, true, "", Move{}, ActView{}, false, "move messages within their month", (*api).move},
		{"POST", folder + "/delete", archive.RightDelete, true, "", Messages{}, ActView{}, false, "delete messages; what is under a legal hold stays", (*api).delete},
		{"POST", folder + "/undelete", archive.RightDelete, true, "", Messages{}, ActView{}, false, "undo delete, for 72 hours", (*api).undelete},
		{"POST", folder + "/empty", archive.RightDelete, true, "", nil, ActView{}, false, "delete all messages of a folder, which stays", (*api).empty},
		{"POST", folder + "/give-back", archive.RightGiveBack, true, "", GiveBack{}, archive.GivenBack{}, true,
			"hand messages to the live mailbox once more, and answer with what the mailstore said of each", (*api).giveBack},
		{"POST", message + "/hold", archive.RightHold, true, "", Reason{}, ActView{}, false, "place a legal hold on it", (*api).hold},
		{"POST", message + "/release", archive.RightHold, true, "", Reason{}, ActView{}, false, "lift the hold", (*api).release},
	}
}

// operatorRoutes are about the machine, or for those who run it; and those that tell of this program.
func operatorRoutes() []Route {
	return []Route{
		{"GET", "/usage", archive.RightLook, false, "[domain=D]", nil, archive.Usage{}, true, "what each mailbox takes, for billing", (*api).usage},
		{"GET", one + "/privacy", archive.RightOperate, false, "[others=true]", nil, archive.Holding{}, true,
			"what is held of a person, why and until when; with others, the archives of others are searched too", (*api).privacy},
		{"GET", one + "/route", archive.RightOperate, false, "", nil, archive.RouteCheck{}, false,
			"whether Postfix routes the mail of a mailbox through the hook", (*api).checkRoute},
		{"POST", one + "/quota-warning", archive.RightOperate, false, "", QuotaPercent{}, archive.QuotaWarning{}, false,
			"tell the owner that the live mailbox has reached a percentage of its quota", (*api).warnQuota},
		{"GET", "/tokens", archive.RightOperate, false, "[domain=D]", nil, archive.Token{}, true, "the keys of programs to this interface, without the secrets",
			(*api).tokens},
		{"POST", "/tokens", archive.RightOperate, true, "", NewToken{}, archive.Token{}, false, "make a token, which only this answer has", (*api).addToken},
		{"DELETE", "/tokens/{name}", archive.RightOperate, true, "", nil, archive.Token{}, false, "end a token", (*api).revokeToken},
		{"GET", "/retention", archive.RightOperate, false, "", nil, journal.Run{}, true, "the runs of the retention so far, oldest first", (*api).runs},
		{"POST", "/retention", archive.RightOperate, false, "", RetentionRun{}, ExpireLine{}, true,
			"run the retention, or preview it: progress, then the report", (*api).retention},
		{"GET", "/checkpoints", archive.RightOperate, false, "", nil, archive.Checkpoint{}, true, "the checkpoints so far, oldest first", (*api).checkpoints},
		{"POST", "/checkpoints", archive.RightOperate, false, "", nil, archive.Checkpoint{}, false, "make a checkpoint now", (*api).checkpoint},
		{"POST", "/checkpoints/key", archive.RightOperate, false, "", nil, SigningKey{}, false,
			"make another signing key in place of one that is lost for good", (*api).newSigningKey},
		{"GET", "/preservation", archive.RightOperate, false, "", nil, archive.Preserved{}, true, "the packages for legal preservation of all mailboxes",
			(*api).preservationOfAll},
		{"GET", "/verify", archive.RightOperate, false, "", nil, VerifyLine{}, true, "check the whole journal: progress, then the report", (*api).verify},
		{"GET", "/stats", archive.RightOperate, false, "", nil, journal.FolderStats{}, true, "entries and bytes by folder, of all mailboxes", (*api).stats},
		{"POST", "/snapshot", archive.RightOperate, false, "[hold=true]", nil, SnapshotLine{}, true,
			"freeze the whole journal at one instant and list its files, to copy them; with hold, they stay until you hang up", (*api).snapshot},
		{"POST", "/backups", archive.RightOperate, false, "", BackupDone{}, journal.Backup{}, false, "say that a backup was made, for the metrics", (*api).backedUp},
		{"POST", "/volumes/{month}/forget", archive.RightOperate, true, "", Confirmation{}, ForgottenView{}, false,
			"give up for good a month whose volume is lost", (*api).forget},
		{"GET", "/labels", "", false, "", nil, LabelView{}, true, "what the names in the answers mean, in Italian and English", (*api).labels},
		{"GET", "/openapi.json", "", false, "", nil, Content{documentType}, false, "what describes all this to programs: OpenAPI 3.1", (*api).openAPI},
		{"GET", "/version", "", false, "", nil, VersionView{}, false, "the version of the program", (*api).version},
	}
}
