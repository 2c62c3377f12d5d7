package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/journal/kv/level"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// typeRig is anna's archive, open to mail programs with layout=type and all that may be done with it, on a clock that can be set.
type typeRig struct {
	t       testing.TB
	now     atomic.Pointer[time.Time]
	failing *kvtest.Failing // below engine
	engine  *badMonths
	archive *Archive
	reader  *Reader
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

func newTypeRig(t testing.TB) *typeRig {
	t.Helper()
	r := &typeRig{t: t}
	r.clock("2026-01")
	inner, err := level.Open(t.TempDir(), level.Options{})
	r.check(err)
	r.failing = kvtest.NewFailing(inner)
	r.engine = &badMonths{Engine: r.failing}
	j, err := journal.Open(r.engine, journal.Options{Now: func() time.Time { return *r.now.Load() }})
	r.check(err)
	t.Cleanup(func() { r.check(errors.Join(j.Close(), inner.Close())) })
	settings, err := r.failing.Settings(t.Context())
	r.check(err)
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	r.check(err)
	r.archive = New(Options{Journal: j, Policy: p})
	r.anna, err = policy.ParseAddress("anna@alpha.test")
	r.check(err)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	_, err = r.archive.Enable(t.Context(), root, r.anna)
	r.check(err)
	r.set("imap=on", "layout=type", "write=on", "append=on", "quota=none")
	r.reader = r.archive.Reader(policy.Actor{Role: policy.RoleOwner, Name: r.anna.String()}, r.anna)
	return r
}

func (r *typeRig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *typeRig) clock(month string) {
	now, err := time.Parse("2006-01-02 15:04", month+"-15 10:00")
	r.check(err)
	r.now.Store(&now)
}

// set changes settings, and returns the notes of the answer.
func (r *typeRig) set(settings ...string) []policy.Label {
	r.t.Helper()
	var list []policy.Assignment
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		list = append(list, policy.Assignment{Key: key, Value: value})
	}
	v, err := r.archive.Set(r.t.Context(), policy.Actor{Role: policy.RoleOperator, Name: "root"}, r.anna, list)
	r.check(err)
	return v.Notes
}

// arrive journals a message of a class, or sent to recipients of a kind.
func (r *typeRig) arrive(d journal.Direction, class, sentTo string) journal.Ref {
	r.t.Helper()
	return r.file(journal.Intent{Direction: d, Class: class, SentTo: sentTo})
}

// file journals a message for anna.
func (r *typeRig) file(in journal.Intent) journal.Ref {
	r.t.Helper()
	in.Mailbox = r.anna.String()
	draft := r.archive.journal.NewDraft(context.Background())
	defer draft.Discard()
	transaction := r.archive.journal.NewTransaction() // in the text too: the same text would be a repetition
	fmt.Fprintf(draft, "Subject: %s%s\r\n\r\n%s %s\r\n", in.Class, in.SentTo, transaction, strings.Repeat("Testo ", rand.IntN(20)))
	placed, err := draft.Commit(context.Background(), journal.Envelope{Transaction: transaction},
		[]journal.Intent{in}, nil)
	if err != nil {
		r.t.Error(err)
		return journal.Ref{}
	}
	return placed[0].Ref
}

// names returns the names of the folders, with what lies in them.
func (r *typeRig) names() string {
	r.t.Helper()
	folders, err := r.reader.Folders(r.t.Context())
	r.check(err)
	var list []string
	for _, f := range folders {
		switch {
		case f.Err != nil:
			list = append(list, f.Name+": unread")
		case f.Holds == nil:
			list = append(list, f.Name)
		default:
			uids, err := r.reader.UIDs(r.t.Context(), f, 1)
			r.check(err)
			list = append(list, fmt.Sprintf("%s: %v of %d", f.Name, uids, f.Holds.Entries))
		}
	}
	return strings.Join(list, "\n")
}

// TestTypes has a message of every class arrive, and checks in which folder it shows, in both languages.
func TestTypes(t *testing.T) {
	const (
		certified = "2026/01/Posta certificata ricevuta|2026/01/Certified mail received"
		other     = "2026/01/Posta non certificata ricevuta|2026/01/Other mail received"
		accepted  = "2026/01/Ricevute di accettazione|2026/01/Acceptance receipts"
		delivery  = "2026/01/Ricevute di consegna|2026/01/Delivery receipts"
		toSome    = "2026/01/Inviati a destinatari certificati|2026/01/Sent to certified recipients"
		toOthers  = "2026/01/Inviati a destinatari non certificati|2026/01/Sent to other recipients"
	)
	for _, c := range []struct {
		d             journal.Direction
		class, sentTo string
		want          string
	}{
		{journal.Received, string(pec.PostaCertificata), "", certified},
		{journal.Received, string(pec.Accettazione), "", accepted},
		{journal.Received, string(pec.AvvenutaConsegna), "", delivery},
		{journal.Received, string(pec.ErroreConsegna), "", delivery},
		{journal.Received, string(pec.PreavvisoErroreConsegna), "", delivery},
		{journal.Received, string(pec.NonAccettazione), "", other},
		{journal.Received, string(pec.Anomalia), "", other},
		{journal.Received, string(pec.PresaInCarico), "", other},
		{journal.Received, string(pec.RilevazioneVirus), "", other},
		{journal.Received, string(pec.REM), "", other},
		{journal.Received, string(pec.Ordinary), "", other},
		{journal.Received, "", "", other},
		{journal.Received, "of-tomorrow", "", other},
		{journal.Sent, "", string(policy.SentToCertified), toSome},
		{journal.Sent, string(pec.PostaCertificata), string(policy.SentToOther), toOthers},
		{journal.Sent, "", string(policy.SentToUnknown), toOthers},
		{journal.Sent, "", "", toOthers},
		{journal.Sent, "", "of-tomorrow", toOthers},
	} {
		t.Run(c.d.String()+" "+c.class+c.sentTo, func(t *testing.T) {
			r := newTypeRig(t)
			r.arrive(c.d, c.class, c.sentTo)
			for i, language := range []string{"language=it", "language=en"} {
				r.set(language)
				if want := strings.Split(c.want, "|")[i] + ": [1] of 1"; !strings.Contains(r.names(), "\n2026/01\n"+want) {
					t.Errorf("%s: the folders are\n%s\nwant %s", language, r.names(), want)
				}
			}
		})
	}
	// The types are the classes of filters, and their names are such that every mail program can show them.
	var names []string
	for _, l := range messageTypes() {
		names = append(names, l.name)
		for _, text := range []string{l.label.Italian, l.label.English} {
			if text == "" || policy.ASCII(text) != text || strings.ContainsAny(text, "&/*%\"\\") {
				t.Errorf("%s is called %q", l.name, text)
			}
		}
	}
	if want := policy.Labels(policy.VocabularyClasses).Names(); !slices.Equal(names, want) {
		t.Errorf("types %q, want %q", names, want)
	}
}

// known is what a mail program remembers of a message.
type known struct {
	folder      string
	uidValidity uint32
	uid         uint32
}

// typeModel checks what layout=type shows against the folders of the journal.
type typeModel struct {
	*typeRig
	seen map[known]string // which message that is, for good
}

// whole checks that the folders of types together are the folders of the journal, and that each shows what belongs into it.
func (m *typeModel) whole(step string) {
	m.t.Helper()
	ctx, j := m.t.Context(), m.archive.journal
	folders, err := m.reader.Folders(ctx)
	m.check(err)
	shown := make(map[string][]uint32)
	sizes := make(map[string]journal.Size)
	for i, f := range folders {
		m.follow(step, f)
		if f.Holds == nil || f.Holds.Month == "" {
			if strings.HasPrefix(f.Name, "20") && (i+1 == len(folders) || !strings.HasPrefix(folders[i+1].Name, f.Name+"/")) {
				m.t.Errorf("%s: nothing lies in %s", step, f.Name)
			}
			continue
		}
		uids, err := m.reader.UIDs(ctx, f, 1)
		m.check(err)
		now, err := m.reader.Refresh(ctx, f)
		m.check(err)
		if *now.Holds != *f.Holds || now.Holds.Entries != uint64(len(uids)) {
			m.t.Errorf("%s: %s has %+v, then %+v and %d UIDs", step, f.Name, f.Holds, now.Holds, len(uids))
		}
		if n := len(uids); n > 0 {
			if half, err := m.reader.UIDs(ctx, f, uids[n/2]); err != nil || !slices.Equal(half, uids[n/2:]) {
				m.t.Errorf("%s: %s from %d on: %v, %v", step, f.Name, uids[n/2], half, err)
			}
		}
		place := f.Holds.Folder + "/" + string(f.Holds.Month)
		shown[place] = append(shown[place], uids...)
		size := sizes[place]
		size.Add(f.Holds.Size())
		sizes[place] = size
	}
	stats, err := j.Stats(ctx, m.anna.String())
	m.check(err)
	for _, s := range stats {
		place := s.Folder + "/" + string(s.Month)
		want, err := j.UIDs(ctx, s.Mailbox, s.Month, s.Folder, 1)
		m.check(err)
		if slices.Sort(shown[place]); !slices.Equal(shown[place], want) || sizes[place] != s.Size() {
			m.t.Fatalf("%s: of %s are shown %v, %+v, and it has %v, %+v", step, place, shown[place], sizes[place], want, s.Size())
		}
	}
}

// follow checks that the messages of a folder are of its type, and are what they were whenever the folder had this name before.
func (m *typeModel) follow(step string, f Folder) {
	m.t.Helper()
	for e, err := range m.reader.Entries(m.t.Context(), f, 1, 1<<32-1) {
		m.check(err)
		if f.Type != "" && typeOf(e.Folder, e.Class, e.SentTo) != f.Type {
			m.t.Errorf("%s: %s shows %s of class %q", step, f.Name, e.Transaction, e.Class)
		}
		at := known{f.Name, f.Holds.UIDValidity, e.UID}
		if was, ok := m.seen[at]; ok && was != e.Transaction {
			m.t.Errorf("%s: %+v was %s and is %s", step, at, was, e.Transaction)
		}
		m.seen[at] = e.Transaction
	}
}

// any returns a folder that holds something, of the trash or not, with some UIDs of its messages; false if there is none.
func (m *typeModel) any(r *rand.Rand, trash bool) (f Folder, uids []uint32, ok bool) {
	m.t.Helper()
	folders, err := m.reader.Folders(m.t.Context())
	m.check(err)
	r.Shuffle(len(folders), func(i, j int) { folders[i], folders[j] = folders[j], folders[i] })
	for _, f := range folders {
		if f.Holds == nil || (f.Holds.Month == "") != trash {
			continue
		}
		all, err := m.reader.UIDs(m.t.Context(), f, 1)
		m.check(err)
		for _, uid := range all {
			if len(uids) == 0 || r.IntN(3) == 0 {
				uids = append(uids, uid)
			}
		}
		if len(uids) > 0 {
			return f, uids, true
		}
	}
	return Folder{}, nil, false
}

// step does something, and returns what.
func (m *typeModel) step(r *rand.Rand) string {
	m.t.Helper()
	ctx := m.t.Context()
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	switch what := pick("arrive", "arrive", "arrive", "send", "move", "move", "delete", "undelete", "undelete", "append", "copy", "show", "later"); what {
	case "arrive":
		m.arrive(journal.Received, pick(string(pec.PostaCertificata), string(pec.Accettazione), string(pec.AvvenutaConsegna), string(pec.Ordinary), ""), "")
		return what
	case "send":
		m.arrive(journal.Sent, "", pick("certified", "other", "unknown", ""))
		return what
	case "move", "delete", "undelete":
		f, uids, ok := m.any(r, what == "undelete")
		if !ok {
			return "nothing to " + what
		}
		to, _, ok := m.any(r, what == "delete")
		if what == "delete" || !ok {
			_, err := m.reader.Delete(ctx, f, uids)
			if err != nil && !errors.Is(err, ErrWaits) {
				m.t.Errorf("delete %v of %s: %v", uids, f.Name, err)
			}
			return what
		}
		moved, err := m.reader.Move(ctx, f, uids, to)
		switch {
		case errors.Is(err, ErrTarget), errors.Is(err, ErrType), errors.Is(err, journal.ErrGone):
		case err != nil:
			m.t.Errorf("move %v from %s to %s: %v", uids, f.Name, to.Name, err)
		default:
			m.landed(to, moved)
		}
		return fmt.Sprintf("%s %v from %s to %s: %v", what, uids, f.Name, to.Name, err)
	case "append":
		text := "Subject: by hand\r\n\r\nTesto\r\n"
		_, err := m.reader.Append(ctx, pick("INBOX", "Sent", "Posta inviata", "Archiviati a mano"), time.Time{}, strings.NewReader(text), int64(len(text)))
		if err != nil && !errors.Is(err, ErrNoFolder) {
			m.t.Error(err)
		}
		return what
	case "copy":
		f, uids, ok := m.any(r, false)
		if !ok {
			return "nothing to copy"
		}
		if copied, err := m.reader.Copy(ctx, f, uids, "INBOX", func(context.Context) error { return nil }); err != nil || len(copied.To) != len(uids) {
			m.t.Errorf("copy %v of %s: %+v, %v", uids, f.Name, copied, err)
		}
		return what
	case "later":
		m.clock(m.now.Load().AddDate(0, 1+r.IntN(3), 0).Format("2006-01"))
		if _, err := m.archive.Expire(ctx, ExpireRequest{Yes: true}); err != nil {
			m.t.Error(err)
		}
		return what
	default:
		m.set("language=" + pick("it", "en"))
		m.set("layout=month")
		m.follows(what)
		m.set("layout=type")
		return what
	}
}

// follows follows all folders.
func (m *typeModel) follows(step string) {
	m.t.Helper()
	folders, err := m.reader.Folders(m.t.Context())
	m.check(err)
	for _, f := range folders {
		m.follow(step, f)
	}
}

// landed checks that messages are where the answer to their move says.
func (m *typeModel) landed(to Folder, moved Moved) {
	m.t.Helper()
	now, err := m.reader.Refresh(m.t.Context(), to)
	m.check(err)
	there, err := m.reader.UIDs(m.t.Context(), to, 1)
	m.check(err)
	for _, uid := range moved.To {
		if !slices.Contains(there, uid) || now.Holds.UIDValidity != moved.UIDValidity {
			m.t.Errorf("moved to %s as %d, %d: there is %v", to.Name, moved.UIDValidity, uid, there)
		}
	}
}

// TestTypesModel does at random what can happen to an archive. After each step the folders of types together are those of the journal, and whatever a mail
// program remembers of a message is still true, also over other layouts and languages, and with next to no memory for the index.
func TestTypesModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &typeModel{newTypeRig(t), make(map[known]string)}
			m.set("retention=6")
			if seed%2 == 1 {
				m.archive.types.limit = 2000
			}
			random := rand.New(rand.NewPCG(seed, 1))
			for i := range 80 {
				m.whole(fmt.Sprintf("step %d, %s", i, m.step(random)))
				if t.Failed() {
					return
				}
			}
			m.sound()
		})
	}
}

// sound checks the journal, and how much the index takes.
func (m *typeModel) sound() {
	m.t.Helper()
	if report, err := m.archive.journal.Verify(m.t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
		m.t.Errorf("verify: %+v, %v", report, err)
	}
	types := m.archive.types
	bytes := 0
	for _, known := range types.of {
		bytes += known.Value.(*typed).bytes
	}
	if bytes != types.bytes || types.bytes > types.limit || types.used.Len() != len(types.of) {
		m.t.Errorf("the index has %d folders of %d bytes, counts %d, and may take %d", len(types.of), bytes, types.bytes, types.limit)
	}
}

// TestTypesAtOnce has many read while messages come, move and go. Nobody sees a folder with another type in it, and in the end all is there.
func TestTypesAtOnce(t *testing.T) {
	m := &typeModel{newTypeRig(t), make(map[known]string)}
	for range 30 {
		m.arrive(journal.Received, string(pec.Accettazione), "")
		m.arrive(journal.Received, "", "")
	}
	acceptance, err := m.reader.Folder(t.Context(), "2026/01/Ricevute di accettazione")
	m.check(err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var changing, reading sync.WaitGroup
	changing.Go(func() {
		for ctx.Err() == nil {
			m.arrive(journal.Received, string(pec.Accettazione), "")
			m.arrive(journal.Received, string(pec.PostaCertificata), "")
			m.arrive(journal.Sent, "", "certified")
		}
	})
	changing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			uids, err := m.reader.UIDs(t.Context(), acceptance, 1)
			if err == nil && len(uids) > 10 {
				_, err = m.reader.Delete(t.Context(), acceptance, uids[n%10:n%10+1])
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 8 {
		reading.Go(func() {
			mine := m.archive.Reader(m.reader.who, m.anna)
			for range 30 {
				folders, err := mine.Folders(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				f := folders[i%len(folders)]
				for e, err := range mine.Heads(t.Context(), f, 1, 1<<32-1) {
					if err != nil || f.Type != "" && typeOf(e.Folder, e.Class, e.SentTo) != f.Type {
						t.Errorf("%s: %+v, %v", f.Name, e, err)
					}
				}
				if _, err := mine.UIDs(t.Context(), f, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	reading.Wait()
	stop()
	changing.Wait()
	m.whole("in the end")
	m.sound()
}
