package pull

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

const (
	lookEvery  = time.Minute      // for profiles that are due
	retryAfter = time.Hour        // after a run that did not go through; then twice as long each time, and never longer than the profile says
	signAfter  = 24 * time.Hour   // the longest pause after a refused password, even where the profile says less: some servers lock an account that is tried often
	restFor    = 15 * time.Minute // how long no profile of a server runs by itself that said that it is busy
)

// next returns when a profile runs by itself. It must have an Every.
func next(p *source.Profile) time.Time {
	if p.Last == nil {
		return p.Made
	}
	at := p.Last.Start.Add(p.Every)
	if p.Failures == 0 {
		return at
	}
	if latest := p.Last.End.Add(signAfter); p.Last.Cause == string(notice.PullLogin) && latest.After(at) {
		at = latest
	}
	if again := p.Last.End.Add(retryAfter << min(p.Failures-1, 10)); again.Before(at) {
		at = again
	}
	return at
}

// RunSoon has Serve run a profile as soon as there is a slot. It needs RightImport, and what Import of an archive needs.
func (s *Service) RunSoon(ctx context.Context, who policy.Actor, address policy.Address, name string) error {
	_, of, _, _, err := s.open(ctx, who, address, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.soon[of+"\x00"+name] = true
	s.mu.Unlock()
	s.wakeUp()
	return nil
}

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Serve runs profiles when they are due, until ctx ends, and then waits for those under way.
func (s *Service) Serve(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		s.look(ctx, time.Now(), &running)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// look starts the profiles that are due, as far as there are slots. The others come when one is free.
func (s *Service) look(ctx context.Context, now time.Time, running *sync.WaitGroup) {
	store := s.archive.Load().Sources()
	if store == nil {
		return
	}
	var fail int64
	full := false
	for p, err := range store.All(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("a profile that imports from another server cannot be read", "mailbox", p.Archive, "error", err)
			}
			continue
		}
		if failing(&p.Profile) {
			fail++
		}
		if full || !s.due(&p, now) {
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			full = true
			continue
		}
		s.mu.Lock()
		delete(s.soon, p.Archive+"\x00"+p.Name)
		s.mu.Unlock()
		running.Go(func() {
			s.runOwned(ctx, p)
			<-s.slots
			s.wakeUp()
		})
	}
	if ctx.Err() == nil {
		s.failing.Set(fail)
	}
}

// due reports whether a profile is to be run now.
func (s *Service) due(p *source.Owned, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[p.Archive+"\x00"+p.Account] != nil {
		return false
	}
	return s.soon[p.Archive+"\x00"+p.Name] || p.Every > 0 && !now.Before(next(&p.Profile)) && !s.rests(p.Account, now)
}

// rest keeps profiles of a server from running by themselves for a while. It is asked by hand all the same.
func (s *Service) rest(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.resting, func(_ string, until time.Time) bool { return !now.Before(until) })
	s.resting[host] = now.Add(restFor)
}

// rests reports whether the server of an account is left alone. The caller holds mu.
func (s *Service) rests(account string, now time.Time) bool {
	a, err := ParseAccount(account)
	return err == nil && now.Before(s.resting[a.Host])
}

// runOwned runs a profile in the name of who made it.
func (s *Service) runOwned(ctx context.Context, p source.Owned) {
	m, err := s.archive.Load().Owner(ctx, p.Archive)
	noted := false
	if err == nil {
		who := policy.Actor{Role: policy.Role(p.Role), Name: p.Who}
		if who.Role == policy.RoleOwner {
			who.Name = m.Address.String() // which may have changed since
		}
		_, noted, err = s.runProfile(ctx, who, m.Address, p.Name, nil)
	}
	if err == nil || noted || ctx.Err() != nil || errors.Is(err, ErrRunning) || errors.Is(err, source.ErrNoProfile) {
		return
	}
	// What keeps a run from beginning is on record too: otherwise it would be tried every minute.
	at := time.Now().UTC().Truncate(time.Second)
	s.record(ctx, m.Address, p.Archive, p.Name, source.Run{Start: at, End: at, Error: err.Error(), Cause: string(CauseOf(err))}, err)
}
