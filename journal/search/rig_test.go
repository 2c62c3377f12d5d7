package search

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

// rig is anna's archive, open and with all that may be done with it, on a clock that can be set.
type rig struct {
	t       testing.TB
	now     atomic.Pointer[time.Time]
	engine  *badMonths
	journal *journal.Journal
	policy  *policy.Policy
	archive *archive.Archive
	reader  *archive.Reader
	index   *Index
	anna    policy.Address
}

// badMonths is an engine on which months cannot be opened.
type badMonths struct {
	kv.Engine
	bad atomic.Pointer[kv.Month]
}

func (e *badMonths) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	if bad := e.bad.Load(); bad != nil && *bad == m {
		return nil, errors.New("test: bad disk")
	}
	return e.Engine.Volume(ctx, m, create)
}

var root = policy.Actor{Role: policy.RoleOperator, Name: "root"}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t}
	r.clock("2026-09-15 10:00")
	inner, err := level.Open(t.TempDir(), level.Options{})
	r.check(err)
	r.engine = &badMonths{Engine: inner}
	r.journal, err = journal.Open(r.engine, journal.Options{Now: r.time})
	r.check(err)
	t.Cleanup(func() { r.check(errors.Join(r.journal.Close(), inner.Close())) })
	settings, err := inner.Settings(t.Context())
	r.check(err)
	r.policy, err = policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	r.check(err)
	r.archive = archive.New(archive.Options{Journal: r.journal, Policy: r.policy})
	r.anna = r.address("anna@alpha.test")
	_, err = r.archive.Enable(t.Context(), root, r.anna)
	r.check(err)
	r.set("imap=on", "write=on", "append=on", "quota=none")
	r.reader = r.archive.Reader(owner(r.anna), r.anna)
	r.index = New(Options{Now: r.time})
	return r
}

func owner(a policy.Address) policy.Actor {
	return policy.Actor{Role: policy.RoleOwner, Name: a.String()}
}

func (r *rig) time() time.Time { return *r.now.Load() }

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) address(text string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseMailbox(text)
	r.check(err)
	return a
}

func (r *rig) clock(text string) {
	r.t.Helper()
	now, err := time.Parse("2006-01-02 15:04", text)
	r.check(err)
	r.now.Store(&now)
}

func (r *rig) later(d time.Duration) {
	now := r.time().Add(d)
	r.now.Store(&now)
}

func (r *rig) set(settings ...string) {
	r.t.Helper()
	var list []policy.Assignment
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		list = append(list, policy.Assignment{Key: key, Value: value})
	}
	_, err := r.archive.Set(r.t.Context(), root, r.anna, list)
	r.check(err)
}

// file journals a message for anna, with what it says of itself if it is certified. Each is a minute after the one before.
func (r *rig) file(in journal.Intent, from, message string) journal.Ref {
	r.t.Helper()
	r.later(time.Minute)
	ref, err := fileNow(r.journal, r.anna.String(), in, from, message)
	r.check(err)
	return ref
}

func fileNow(j *journal.Journal, mailbox string, in journal.Intent, from, message string) (journal.Ref, error) {
	s := part.NewScanner(part.DefaultLimits())
	if _, err := s.Write([]byte(message)); err != nil {
		return journal.Ref{}, err
	}
	table := s.Close()
	m := pec.Read(strings.NewReader(message), table, s.Header())
	if in.Class == "" {
		in.Class = string(m.Class)
	}
	if m.Class != pec.Ordinary {
		var err error
		if in.Certification, err = (&pec.Record{Message: *m}).AppendBinary(nil); err != nil {
			return journal.Ref{}, err
		}
	}
	if in.Direction == 0 {
		in.Direction = journal.Received
	}
	if in.Direction == journal.Received && in.Import == nil {
		in.RcptTo = mailbox
	}
	in.Mailbox = mailbox
	draft := j.NewDraft(context.Background())
	defer draft.Discard()
	if _, err := draft.Write([]byte(message)); err != nil {
		return journal.Ref{}, err
	}
	placed, err := draft.Commit(context.Background(), journal.Envelope{MailFrom: from, Transaction: j.NewTransaction()}, []journal.Intent{in}, nil)
	if err != nil {
		return journal.Ref{}, err
	}
	return placed[0].Ref, nil
}

// plain files a message with a subject.
func (r *rig) plain(subject string) journal.Ref {
	r.t.Helper()
	return r.file(journal.Intent{}, "bruno@ext.test", "From: bruno@ext.test\r\nTo: anna@alpha.test\r\nSubject: "+subject+"\r\n\r\nText "+r.time().String()+"\r\n")
}

// find returns the subjects of what a search finds, newest first.
func (r *rig) find(text string) []string {
	r.t.Helper()
	q, err := ParseQuery(text)
	r.check(err)
	return r.subjects(q)
}

func (r *rig) subjects(q Query) []string {
	r.t.Helper()
	page, err := r.index.Find(r.t.Context(), r.reader, q, Position{}, MaxLimit)
	r.check(err)
	if page.Total != len(page.Entries) || !page.Next.IsZero() {
		r.t.Errorf("%s: %d entries of %d, then %s", q, len(page.Entries), page.Total, page.Next)
	}
	return subjectsOf(page)
}

func subjectsOf(p Page) []string {
	list := []string{}
	for _, e := range p.Entries {
		list = append(list, part.Decode(e.Subject))
	}
	return list
}

// folder returns a folder of the journal for the methods of a Reader.
func (r *rig) folder(name string) archive.Folder {
	r.t.Helper()
	folders, err := r.reader.MonthFolders(r.t.Context())
	r.check(err)
	for _, f := range folders {
		if fmt.Sprintf("%s/%s", f.Folder, f.Month) == name {
			return archive.InMonth(f)
		}
	}
	r.t.Fatalf("no folder %s in %v", name, folders)
	return archive.Folder{}
}
