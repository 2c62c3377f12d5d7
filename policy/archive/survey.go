package archive

import (
	"context"
	"errors"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// surveyFor is how long what a Survey has read from all mailboxes counts. What is said of one mailbox is never that old.
const surveyFor = time.Minute

// Survey knows what the pages about a whole domain ask for again and again: how much each mailbox holds, and what came in by day. It reads all mailboxes
// at once, at most once a minute, and of the messages only those that have come since. Nothing is stored: after a start it reads anew. It may be used
// concurrently; one call at a time reads.
type Survey struct {
	turn chan struct{} // has room for one: whoever holds it reads, and sets what follows

	mu      sync.Mutex
	sizes   map[string]journal.Size // by the name of the archive; replaced as a whole; guarded by mu
	passed  []kv.Month              // that are not in sizes; guarded by mu
	sizedAt time.Time               // guarded by mu

	traffic map[string]*traffic // by domain; belongs to whoever holds turn
}

// NewSurvey returns a Survey that knows nothing yet.
func NewSurvey() *Survey {
	return &Survey{turn: make(chan struct{}, 1), traffic: make(map[string]*traffic)}
}

// begin waits for the turn to read. The caller calls end.
func (s *Survey) begin(ctx context.Context) (end func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// known returns the sizes as last read, if they still count.
func (s *Survey) known() (map[string]journal.Size, []kv.Month, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes, s.passed, s.sizes != nil && time.Since(s.sizedAt) < surveyFor
}

// Sizes returns what each archive holds, by its name, and the months that could not be read. The caller must not change them.
func (s *Survey) Sizes(ctx context.Context, j *journal.Journal) (map[string]journal.Size, []kv.Month, error) {
	if sizes, passed, ok := s.known(); ok {
		return sizes, passed, nil
	}
	end, err := s.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	if sizes, passed, ok := s.known(); ok {
		return sizes, passed, nil
	}
	sizes, err := j.Sizes(ctx)
	var over journal.PassedOver
	if err != nil && !errors.As(err, &over) {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes, s.passed, s.sizedAt = sizes, over.Months(), time.Now()
	return s.sizes, s.passed, nil
}
