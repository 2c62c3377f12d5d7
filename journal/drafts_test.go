package journal

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// liveHeap returns how many bytes are in use behind a collection.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestManyLargeDrafts has a hundred large messages under way at once.
func TestManyLargeDrafts(t *testing.T) {
	const drafts, blocks = 100, 20
	f := openFixture(t)
	f.onFiles()
	content := randomBytes(1, 4<<20)
	block := func(r *rand.Rand) []byte {
		at := r.IntN(len(content) - 64<<10)
		return content[at : at+64<<10]
	}
	before := liveHeap()
	open := make([]*Draft, drafts)
	random := make([]*rand.Rand, drafts)
	for i := range open {
		open[i], random[i] = f.NewDraft(f.ctx()), rand.New(rand.NewPCG(uint64(i), 1))
		fmt.Fprintf(open[i], "Subject: %d\r\nContent-Type: text/plain\r\n\r\n", i)
	}
	var most int64
	for n := range blocks {
		var all sync.WaitGroup
		for i, d := range open {
			all.Go(func() { d.Write(block(random[i])) })
		}
		all.Wait()
		if n%10 == 9 {
			most = max(most, liveHeap()-before)
		}
	}
	t.Logf("%d drafts hold %d KiB", drafts, most>>10)
	// Of that, 20 MiB are of the store's write buffer.
	if limit := int64(drafts*700<<10 + 32<<20); most > limit {
		t.Errorf("%d drafts hold %d KiB, want %d at most", drafts, most>>10, limit>>10)
	}
	for i, d := range open {
		if _, err := d.Commit(f.ctx(), Envelope{Transaction: fmt.Sprint(i)}, []Intent{received(mario)}, nil); err != nil {
			t.Fatal(err)
		}
		d.Discard()
	}
}
