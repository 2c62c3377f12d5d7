package journal

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// mailing is a message with a number in its subject and its Message-ID; every seventh shares its id with others.
func mailing(n int) []byte {
	id := n
	if n%7 == 0 {
		id = n % 49
	}
	return fmt.Appendf(nil, "Subject: %d\r\nMessage-ID: <%d@ext.test>\r\n\r\nCiao %d.\r\n", n, id, n)
}

// correspondence fills a mailbox with received, sent and certified messages of several folders, some of which are moved, deleted or brought back.
func (f *fixture) correspondence(messages int) {
	f.t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(messages)))
	var refs, gone []Ref
	for n := range messages {
		in := received(mario)
		switch {
		case n%5 == 1:
			in = Intent{Mailbox: mario, Direction: Sent, Recipients: []string{giove}, Class: "ordinary"}
		case n%31 == 3:
			in.Certification = []byte{1}
		}
		refs = append(refs, f.file(mailing(n), in)[0].Ref)
		f.pass(time.Duration(random.IntN(100)) * time.Second)
		if n%9 != 8 {
			continue
		}
		one := random.IntN(len(refs))
		switch random.IntN(4) {
		case 0:
			refs[one] = f.move(refs[one], Trash)
		case 1:
			refs[one] = f.move(refs[one], "INBOX")
		case 2:
			f.remove(refs[one])
			gone = append(gone, refs[one])
			refs = slices.Delete(refs, one, one+1)
		case 3:
			if len(gone) > 0 {
				back, err := f.undelete(gone[0])
				if err != nil {
					f.t.Fatal(err)
				}
				refs, gone = append(refs, back), gone[1:]
			}
		}
	}
	f.FlushOutcomes(f.ctx())
}

func (f *fixture) index() {
	f.t.Helper()
	if err := f.Index(f.ctx(), 0); err != nil {
		f.t.Fatal(err)
	}
}

// found are the places, states and subjects of entries.
func (f *fixture) found(entries iter.Seq2[*Entry, error]) (list []string) {
	f.t.Helper()
	for e, err := range entries {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, entryText(e)+" "+e.Subject)
	}
	return list
}

// wantFound compares what is found by index with what a search of everything finds.
func (f *fixture) wantFound(when string) {
	f.t.Helper()
	f.FlushOutcomes(f.ctx())
	filtered := func(all iter.Seq2[*Entry, error], keep func(*Entry) bool) iter.Seq2[*Entry, error] {
		return func(yield func(*Entry, error) bool) {
			for e, err := range all {
				if (err != nil || keep(e)) && !yield(e, err) {
					return
				}
			}
		}
	}
	compare := func(what string, got, want []string) {
		f.t.Helper()
		if !slices.Equal(got, want) {
			f.t.Errorf("%s, %s: found %d:\n%.2000s\nwant %d:\n%.2000s", when, what, len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
		}
	}
	all := func() iter.Seq2[*Entry, error] { return f.ListByTime(f.ctx(), mario) }
	for _, id := range []string{"0@ext.test", "14@ext.test", "15@ext.test", "601@ext.test", "nobody@ext.test"} {
		want := filtered(all(), func(e *Entry) bool { return e.MessageID == "<"+id+">" })
		compare("message id "+id, f.found(f.WithMessageID(f.ctx(), mario, id)), f.found(want))
	}
	compare("practices", f.found(f.OfPractices(f.ctx(), mario, time.Time{}, time.Time{})), f.found(filtered(all(), mayBeOfPractice)))
	middle := november.Add(6 * time.Hour)
	compare("practices of a time", f.found(f.OfPractices(f.ctx(), mario, middle, middle.Add(time.Hour))), f.found(filtered(all(), func(e *Entry) bool {
		return mayBeOfPractice(e) && !e.Time.Before(middle) && e.Time.Before(middle.Add(time.Hour))
	})))
	for _, uid := range []uint32{1, 7, indexBlock - 1, indexBlock, 601, 1 << 20, 1<<32 - 1} {
		want := filtered(all(), func(e *Entry) bool { return e.Direction == Sent && e.UID == uid })
		compare(fmt.Sprintf("sent as %d", uid), f.found(f.SentAs(f.ctx(), mario, uid)), f.found(want))
	}
	month := kv.MonthOf(november)
	for _, l := range []Listing{
		{}, {Folder: "INBOX"}, {Month: month}, {Month: month.Next()}, {Folder: "Trash", Month: month}, {Folder: "INBOX", Month: month, After: 3},
		{Folder: "INBOX", Month: month, After: indexBlock - 2}, {Folder: "INBOX", Month: month, After: indexBlock - 1}, {Folder: "INBOX", Month: month, After: indexBlock},
		{Folder: "INBOX", Month: month, After: 530}, {Folder: "INBOX", Month: month, After: 1<<32 - 1}, {Since: middle}, {Until: middle},
		{Since: middle, Until: middle.Add(time.Hour)}, {Since: middle, Folder: "Trash"}, {Since: november.AddDate(0, 2, 0)}, {Folder: "nowhere"},
	} {
		want := f.found(filtered(f.List(f.ctx(), mario), l.Wants))
		compare(fmt.Sprintf("%+v", l), f.found(f.Listed(f.ctx(), mario, l)), want)
		byTime := f.found(filtered(all(), l.Wants))
		slices.Reverse(byTime)
		for _, n := range []int{1, 10, 700, 100_000} {
			l.Newest = n
			compare(fmt.Sprintf("%+v", l), f.found(f.Listed(f.ctx(), mario, l)), byTime[:min(n, len(byTime))])
		}
	}
}

func (f *fixture) blocks() (keys []string) {
	f.t.Helper()
	for p, err := range f.store().Scan(f.ctx(), []byte{'m'}, []byte{'n'}) {
		if err != nil {
			f.t.Fatal(err)
		}
		_, folder, n, err := splitIndexKey(p.Key)
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, fmt.Sprint(folder, " ", n))
	}
	return keys
}

// TestIndex looks for entries where no index tells of them, where one does, where one tells of some, and once the month is over.
func TestIndex(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.correspondence(800)
	f.wantFound("without an index")
	f.index()
	if got := f.blocks(); !slices.Equal(got, []string{"INBOX 0"}) {
		t.Errorf("blocks %q", got)
	}
	f.wantFound("with a block")
	f.verify()
	f.correspondence(99)
	f.clock.set(november.AddDate(0, 1, 0))
	f.put(mario, mailing(7))
	f.wantFound("with messages behind the block")
	f.index()
	f.clock.set(november)
	if got := f.blocks(); !slices.Equal(got, []string{"INBOX 0", "INBOX 1", "Sent 0"}) {
		t.Errorf("blocks of a month that is over: %q", got)
	}
	f.wantFound("with all blocks")
	f.index()
	f.correspondence(100)
	f.wantFound("with messages in a month that is over")
	f.verify()
	f.clock.set(november.AddDate(0, 1, 0))
	f.index()
	f.wantFound("with blocks that grew")
	if r, err := f.Rebuild(f.ctx()); err != nil || r.Changes() != 0 {
		t.Errorf("rebuilt %+v, %v", r, err)
	}
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	f.clock.set(november)
	if got := f.blocks(); len(got) > 0 {
		t.Errorf("blocks of an erased archive: %q", got)
	}
	f.put(mario, mailing(1))
	f.wantFound("begun anew")
}

// TestKeepIndexed has a block be made as it fills, through a fault.
func TestKeepIndexed(t *testing.T) {
	t.Parallel()
	f, h := hookedFixture(t)
	for n := range indexBlock - 2 {
		f.put(mario, mailing(n))
	}
	ctx, stop := context.WithCancel(f.ctx())
	defer stop()
	ended, failed := make(chan struct{}), make(chan error, 100)
	go func() {
		defer close(ended)
		f.KeepIndexed(ctx, func(err error) { failed <- err })
	}()
	made := make(chan struct{}, 1)
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		err := next(ctx)
		if there, _ := hasKey(ctx, f.store(), indexKey(mario, "INBOX", 0)); there {
			select {
			case made <- struct{}{}:
			default:
			}
		}
		return err
	})
	f.put(mario, mailing(indexBlock))
	select {
	case <-made:
	case err := <-failed:
		t.Fatal(err)
	}
	h.set(nil)
	stop()
	<-ended
	f.wantFound("with the block")

	// A fault costs no more than time.
	f.put1(indexKey(mario, "INBOX", 0), nil)
	h.set(unavailable)
	if err := f.Index(f.ctx(), 0); err == nil {
		t.Error("a fault was not told of")
	}
	f.wantFound("through a fault")
	h.set(nil)
	f.index()
	if got := f.blocks(); len(got) != 1 {
		t.Errorf("blocks %q", got)
	}
}

// TestIndexKilled kills the making of an index at one write after the other.
func TestIndexKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.onFiles()
	f.correspondence(indexBlock + indexBlock/2)
	for n := range indexLeast {
		f.put(mario, mailing(n))
		f.file(mailing(n), received(anna))
		f.move(f.put(mario, mailing(1000+n)), Trash)
	}
	f.clock.set(november.AddDate(0, 1, 0))
	f.killAtEach("index", 1, func() { f.wantFound("killed") })
	f.clock.set(november)
	if got := f.blocks(); !slices.Equal(got, []string{"INBOX 0", "INBOX 0", "INBOX 1", "Sent 0", "Trash 0"}) { // the first is of anna
		t.Errorf("blocks %q", got)
	}
	f.wantFound("in the end")
	if r, err := f.Rebuild(f.ctx()); err != nil || r.Changes() != 0 {
		t.Errorf("rebuilt %+v, %v", r, err)
	}
}

// TestIndexDamaged has an entry that cannot be read: whoever looks where it is must hear of it.
func TestIndexDamaged(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.damaged()
	for n := range indexBlock + 10 {
		f.put(mario, mailing(n))
	}
	f.put1(entryKey(Ref{mario, kv.MonthOf(november), "INBOX", 20}), []byte{tagTime, 9})
	f.index()
	if got := f.blocks(); len(got) > 0 {
		t.Errorf("blocks %q", got)
	}
	var damaged int
	for _, err := range f.WithMessageID(f.ctx(), mario, "nobody@ext.test") {
		wantErr(t, "look", err, ErrDamaged)
		damaged++
	}
	if damaged != 1 {
		t.Errorf("%d damaged entries, want 1", damaged)
	}
	if list := f.foundOr(f.Listed(f.ctx(), mario, Listing{Newest: 3})); len(list) != 4 {
		t.Errorf("the newest are %q", list)
	}
}

// foundOr is found with the errors among it.
func (f *fixture) foundOr(entries iter.Seq2[*Entry, error]) (list []string) {
	for e, err := range entries {
		if err != nil {
			list = append(list, err.Error())
		} else {
			list = append(list, entryText(e))
		}
	}
	return list
}

func TestIndexFaults(t *testing.T) {
	t.Parallel()
	block := func(change func(x *indexed)) func(f *fixture) []byte {
		return func(f *fixture) []byte {
			v, err := f.store().Get(f.ctx(), indexKey(mario, "INBOX", 0))
			if err != nil {
				f.t.Fatal(err)
			}
			x, err := decodeIndexed(0, bytes.Clone(v))
			if err != nil {
				f.t.Fatal(err)
			}
			change(x)
			return x.encode()
		}
	}
	raw := func(b ...byte) func(*fixture) []byte { return func(*fixture) []byte { return append([]byte{}, b...) } }
	of := func(name string, n uint32) []byte { return indexKey(mario, name, n) }
	for _, c := range []struct {
		name  string
		key   []byte
		value func(f *fixture) []byte
		want  string
	}{
		{"another mark", of("INBOX", 0), block(func(x *indexed) { x.marks[5*indexMark+2] ^= 1 }), "INBOX/2026-11 5: the index of its folder tells of another message"},
		{"no mark", of("INBOX", 0), block(func(x *indexed) { copy(x.marks[5*indexMark:], "\x00\x00\x00") }), "INBOX/2026-11 5: the index of its folder tells"},
		{"time too late", of("INBOX", 0), block(func(x *indexed) { x.oldest = x.newest }), "INBOX/2026-11 1: the index of its folder tells"},
		{"time too early", of("INBOX", 0), block(func(x *indexed) { x.newest = x.oldest }), "INBOX/2026-11 2: the index of its folder tells"},
		{"empty", of("INBOX", 0), raw(), "block 0 of an index: malformed"},
		{"cut off", of("INBOX", 0), raw(1, 2, 3), "block 0 of an index: malformed"},
		{"too long", of("INBOX", 0), block(func(x *indexed) { x.marks = append(x.marks, 0, 0, 0) }), "block 0 of an index: malformed"},
		{"of UIDs to come", of("INBOX", 9), block(func(*indexed) {}), "INBOX/2026-11: its index tells of UIDs up to 5119, and the next one is 515"},
		{"of no folder", of("nowhere", 0), block(func(*indexed) {}), "nowhere/2026-11: its index tells of UIDs up to 511, and the next one is 0"},
		{"number too great", of("INBOX", 1<<31), block(func(*indexed) {}), "malformed key"},
		{"key cut off", of("INBOX", 0)[:8], raw(1), "malformed key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := openFixture(t)
			for n := range indexBlock + 2 {
				f.put(mario, mailing(n))
			}
			f.index()
			f.put1(c.key, c.value(f))
			f.wantFault(c.want)
			r, err := f.Rebuild(f.ctx())
			if err != nil || r.Indexes != 1 || r.Changes() != 1 {
				t.Errorf("rebuilt %+v, %v", r, err)
			}
			f.index()
			f.wantFound("rebuilt")
			if got := f.blocks(); !slices.Equal(got, []string{"INBOX 0"}) {
				t.Errorf("blocks %q", got)
			}
		})
	}
}

func FuzzDecodeIndexed(f *testing.F) {
	x := &indexed{first: indexBlock, uidValidity: 7, oldest: november, newest: november.Add(time.Hour)}
	for n := range 3 {
		x.add(&Entry{Ref: Ref{UID: uint32(indexBlock + 2*n)}, Time: november, Direction: Direction(1 + n%2), Envelope: Envelope{}, MessageID: fmt.Sprint(n)})
	}
	f.Add(x.encode())
	f.Add([]byte{})
	f.Add(make([]byte, indexHead+indexMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := decodeIndexed(1, b)
		if err != nil {
			return
		}
		if got := x.encode(); !bytes.Equal(got, b) {
			t.Errorf("%x became %x", b, got)
		}
		for _, q := range []*query{{}, {since: november}, {until: november}, {marked: marked{1<<24 - 1, max(x.mark(x.last()), 1)}}} {
			for _, r := range q.in(x) {
				if r.First < x.first || r.Last > x.last() || r.First > r.Last {
					t.Errorf("%v lies outside %d to %d", r, x.first, x.last())
				}
			}
		}
	})
}
