package auth

import (
	"context"
	"time"

	"copialettere/policy"
)

const (
	// slowRest is for how many times as long as a check has taken nobody in the slow lane is checked. So all of them together get a tenth of one
	// processor.
	slowRest = 9
	slowWait = 10 * time.Second // how long somebody waits for a turn, before he is told to come again
)

// slowLane lets one password be checked at a time, and rests between two. It is for those who try from where many have failed, and who cannot be
// refused for that: the users of a webmail on this machine all come from one address. Whoever has signed in from there before is not among them.
type slowLane struct {
	turn chan struct{} // has one element while somebody is checked
	next time.Time     // when the next may be checked; belongs to whoever has the turn
}

func newSlowLane() *slowLane { return &slowLane{turn: make(chan struct{}, 1)} }

// enter waits for a turn; leave ends it.
func (s *slowLane) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rest := time.NewTimer(time.Until(s.next))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		<-s.turn
		return nil, ctx.Err()
	}
	began := time.Now()
	return func() {
		now := time.Now()
		s.next = now.Add(slowRest * now.Sub(began))
		<-s.turn
	}, nil
}

// verify checks a password at the source, in the slow lane where many have failed.
func (a *Authenticator) verify(ctx context.Context, try Attempt, login policy.Address) (policy.Address, error) {
	if !try.slow {
		return a.source.verify(ctx, try, login)
	}
	waiting, cancel := context.WithTimeout(ctx, slowWait)
	defer cancel()
	leave, err := a.slow.enter(waiting)
	if err != nil {
		return policy.Address{}, a.tooMany(ctx, login, time.Minute)
	}
	defer leave()
	return a.source.verify(ctx, try, login)
}
