package pages

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
)

func actRoutes() []Route {
	return []Route{
		{Pattern: "POST /mailbox/{mailbox}/messages/delete", For: OfMailbox, Right: archive.RightDelete, form: maxSelection, serve: (*visit).deleteMessages},
		{Pattern: "POST /mailbox/{mailbox}/messages/move", For: OfMailbox, Right: archive.RightMove, form: maxSelection, serve: (*visit).moveMessages},
	}
}

// actPage asks whether something is to be done with messages.
type actPage struct {
	Title    string
	Text     []string
	Warnings []string
	Action   string   // path of the form
	Messages []string // values of m
	Examples []summary
	More     uint64 // messages that are not among Examples
	Query    string // instead of Messages: all that folder and q ask for
	Folder   string
	All      bool
	Back     string
	Button   string
	Danger   bool
	Targets  []folderLink // to choose from
	None     bool         // there is nothing to be done
	Again    bool         // give back also what was given back before
}

// confirmed reports whether the form comes from the page that asks.
func (v *visit) confirmed() bool { return v.PostFormValue("confirm") == "yes" }

// back returns the path of the page from which the form came.
func (v *visit) back() string { return localPath(v.PostFormValue("back"), v.path("messages")) }

// confirmation returns a page that asks about counted messages.
func (v *visit) confirmation(c counted) actPage {
	page := actPage{Action: v.URL.EscapedPath(), Back: v.back(), None: c.messages == 0}
	for _, s := range c.folders {
		page.Messages = append(page.Messages, selectionValue(s))
	}
	page.Examples, page.More = v.examples(c)
	if months := c.passed.Months(); len(months) > 0 {
		var names []string
		for _, m := range months {
			names = append(names, monthText(v.language, string(m)))
		}
		page.Warnings = append(page.Warnings, v.t("Questi mesi non si possono leggere, e i loro messaggi non sono compresi: %s.",
			"These months cannot be read, and their messages are not among them: %s.", strings.Join(names, ", ")))
	}
	return page
}

// shownExamples is how many messages a page that asks shows, so that the reader sees that they are those that were meant.
const shownExamples = 5

// examples returns the first of some counted messages, and how many others there are.
func (v *visit) examples(c counted) (list []summary, more uint64) {
	r := v.reader()
	for _, s := range c.folders {
		for uid := range s.UIDs.Each() {
			if len(list) == shownExamples {
				return list, c.messages - shownExamples
			}
			e, err := r.Entry(v.Context(), journal.Ref{Month: s.Month, Folder: s.Folder, UID: uid})
			if err != nil {
				return nil, 0 // it has gone, or cannot be read, which the act itself tells
			}
			one := summarize(e, v.language)
			one.Subject, one.Who = cut(one.Subject, shownSubject), cut(one.Who, shownWho)
			list = append(list, one)
		}
	}
	return list, 0
}

// deleteMessages deletes what is selected, after asking.
func (v *visit) deleteMessages() error {
	s, err := v.selected()
	if err != nil {
		return err
	}
	if v.confirmed() && s.query == nil {
		return v.act(s.folders, "deleted", func(one journal.Selection) (*journal.Done, error) {
			return v.pages.options.Archive.Delete(v.Context(), v.who, one)
		})
	}
	access, err := v.reader().Access(v.Context())
	if err == nil && !access.Delete {
		err = archive.ErrReadOnly
	}
	if err != nil {
		return err
	}
	if m, err := v.pages.options.Archive.Mailbox(v.Context(), v.who, v.mailbox); err != nil {
		return err
	} else if m.Hold != nil {
		return policy.ErrHeld
	}
	c, err := v.count(s)
	if err != nil {
		return err
	}
	held, err := v.leaveHeld(&c)
	if err != nil {
		return err
	}
	page := v.confirmation(c)
	page.Title = v.t("Eliminare %s?", "Delete %s?", v.amount(c.messages))
	page.Button, page.Danger = v.t("Elimina", "Delete"), true
	if len(held) > 0 {
		page.Warnings = append(page.Warnings, v.t("Restano dove sono, per un blocco legale: %s.", "These stay where they are, under a legal hold: %s.", strings.Join(held, "; ")))
	}
	page.Text = append(page.Text, v.t("In tutto %s. Si possono recuperare fino al %s (72 ore) dalla pagina Eliminati; poi non esistono più.",
		"In all %s. They can be brought back until %s (72 hours) on the page Deleted; then they are gone for good.",
		sizeText(v.language, c.bytes), timeText(v.language, v.zone, time.Now().Add(journal.DeletedGrace))))
	return v.confirm(page)
}

// confirm asks.
func (v *visit) confirm(page actPage) error {
	if page.None {
		page.Title = v.t("Nessun messaggio", "No message")
	}
	return v.render(http.StatusOK, "act.html", page)
}

// leaveHeld takes the messages that a hold keeps out of a count, and names them: all of them where the mailbox is held.
func (v *visit) leaveHeld(c *counted) (names []string, err error) {
	r := v.reader()
	var folders []journal.Selection
	for _, s := range c.folders {
		held, err := r.HeldIn(v.Context(), s)
		if err != nil {
			return nil, err
		}
		if len(held) > 0 {
			names = append(names, fmt.Sprintf("%s, %s", folderText(v.language, s.FolderName()), held))
			s.UIDs = withoutUIDs(s.UIDs, held)
			c.messages -= held.Count()
		}
		if len(s.UIDs) > 0 {
			folders = append(folders, s)
		}
	}
	c.folders = folders
	return names, nil
}

// withoutUIDs returns the UIDs of a set that are not in another one.
func withoutUIDs(set, without journal.UIDs) journal.UIDs {
	var uids []uint32
	next := slices.Collect(without.Each())
	for uid := range set.Each() {
		if _, there := slices.BinarySearch(next, uid); !there {
			uids = append(uids, uid)
		}
	}
	return journal.UIDsOf(uids)
}

// act does something with the messages of each folder and goes back to where the form was. What went meanwhile is no error, and what stays is counted.
func (v *visit) act(folders []journal.Selection, done string, do func(journal.Selection) (*journal.Done, error)) error {
	var taken, left uint64
	for _, s := range folders {
		s.Mailbox = v.mailbox.String()
		d, err := do(s)
		if d != nil {
			taken += d.UIDs.Count()
			left += d.Held.Count() + d.Damaged.Count() + d.Gone.Count()
		}
		switch {
		case err == nil, errors.Is(err, journal.ErrNotFound), errors.Is(err, journal.ErrGone):
		case errors.Is(err, journal.ErrHeld) && d != nil, errors.Is(err, journal.ErrDamaged) && d != nil:
		case taken > 0:
			return &complaint{http.StatusInternalServerError, brokeOff(taken), err}
		default:
			return err
		}
	}
	if taken == 0 {
		return complain(http.StatusConflict, "Non è stato cambiato nulla: i messaggi scelti non ci sono più, o un blocco legale li tiene dove sono.",
			"Nothing was changed: the messages selected are not there any more, or a legal hold keeps them where they are.")
	}
	v.redirect(v.backWith(taken, left), done)
	return nil
}

// backWith returns the path of the page from which the form came, with how many messages were taken and left.
func (v *visit) backWith(taken, left uint64) string {
	u, err := url.Parse(v.back())
	if err != nil {
		return v.path("messages")
	}
	values := u.Query()
	for _, name := range []string{"done", "n", "left", "checked"} {
		values.Del(name)
	}
	values.Set("n", strconv.FormatUint(taken, 10))
	if left > 0 {
		values.Set("left", strconv.FormatUint(left, 10))
	}
	u.RawQuery = values.Encode()
	return u.String()
}

// brokeOff says that an act went wrong after some messages.
func brokeOff(n uint64) policy.Label {
	return policy.Label{
		Italian: fmt.Sprintf("Per un guasto non è stato fatto tutto: messaggi già trattati %d. Tornare all'elenco e guardare com'è adesso.", n),
		English: fmt.Sprintf("Because of a fault not all was done: %d messages were. Go back to the list and look at how it is now.", n),
	}
}

// countIf looks a selection up if the reader may act on it; otherwise it returns the error that says no.
func (v *visit) countIf(may func(archive.Access) bool, no error, s selection) (counted, error) {
	access, err := v.reader().Access(v.Context())
	if err == nil && !may(access) {
		err = no
	}
	if err != nil {
		return counted{}, err
	}
	return v.count(s)
}

// moveMessages moves what is selected into another folder of its month, after asking into which.
func (v *visit) moveMessages() error {
	s, err := v.selected()
	if err != nil {
		return err
	}
	target := v.PostFormValue("target")
	if v.confirmed() && s.query == nil && target != "" {
		folders := slices.DeleteFunc(s.folders, func(one journal.Selection) bool { return one.Folder == target })
		return v.act(folders, "moved", func(one journal.Selection) (*journal.Done, error) {
			return v.pages.options.Archive.Move(v.Context(), v.who, one, target)
		})
	}
	c, err := v.countIf(func(a archive.Access) bool { return a.Move }, archive.ErrReadOnly, s)
	if err != nil {
		return err
	}
	page := v.confirmation(c)
	page.Title = v.t("Spostare %s?", "Move %s?", v.amount(c.messages))
	page.Button = v.t("Sposta", "Move")
	page.Text = append(page.Text, v.t("Un messaggio resta nel mese in cui è arrivato: cambia solo la cartella.", "A message stays in the month in which it arrived: only the folder changes."))
	if page.Targets, err = v.targets(c); err != nil {
		return err
	}
	return v.confirm(page)
}

// targets returns the folders into which all counted messages can go.
func (v *visit) targets(c counted) ([]folderLink, error) {
	names := []string{journal.FolderOf(journal.Received), journal.FolderOf(journal.Sent), journal.Trash}
	stats, _, err := v.folders()
	if err != nil {
		return nil, err
	}
	months := make(map[string]int) // by folder: in how many months of the messages it is
	for _, f := range stats {
		if slices.ContainsFunc(c.folders, func(s journal.Selection) bool { return s.Month == f.Month }) {
			months[f.Folder]++
		}
	}
	all := 0
	for i, s := range c.folders {
		if i == 0 || c.folders[i-1].Month != s.Month {
			all++
		}
	}
	var others []string
	for name, n := range months {
		if n == all && !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	var list []folderLink
	for _, name := range append(names, others...) {
		if !slices.ContainsFunc(c.folders, func(s journal.Selection) bool { return s.Folder != name }) {
			continue // all of them are there
		}
		list = append(list, folderLink{Name: name, Text: kindText(v.language, name)})
	}
	return list, nil
}
