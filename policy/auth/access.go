package auth

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
	"copialettere/policy"
)

// Result is how a login ended.
type Result string

// The results.
const (
	ResultOK     Result = "ok"
	ResultDenied Result = "denied" // wrong name or password
	ResultClosed Result = "closed" // right, but the mailbox is closed to the protocol
	// ResultSecondFactor means that the password is right and does not suffice: no code, a wrong one, or a mail program without an app password.
	ResultSecondFactor Result = "second-factor"
	ResultThrottled    Result = "throttled"   // too many failures: the password was not even looked at
	ResultUnavailable  Result = "unavailable" // nobody could tell; counted, never on record
)

// Access is one login, or several alike, as the access log has it. Others script against its names.
type Access struct {
	Time     time.Time   `json:"time"`              // of the first, UTC
	Until    time.Time   `json:"until,omitzero"`    // of the last, where there are several
	Count    uint64      `json:"count"`             // how many
	Login    string      `json:"login"`             // as it signs in; the name of a token that reads
	Role     policy.Role `json:"role,omitempty"`    // of a login that succeeded
	Protocol Protocol    `json:"protocol"`          // imap, submission, web or api
	Address  string      `json:"address,omitempty"` // of the client; absent where it is unknown, or where failures came from too many
	Result   Result      `json:"result"`
	// By is ByMaster for a login of a Master in the name of the owner; its Address is then that of the Master. For one by a link it is the role and the
	// name of who made that: "token panel".
	By string `json:"by,omitempty"`
	// AppPassword is the name of the app password that was used.
	AppPassword string `json:"app_password,omitempty"`
	// SecondFactor is what was given beside the password.
	SecondFactor Factor `json:"second_factor,omitempty"`
}

const (
	gatherOK       = 200 * time.Millisecond // logins that succeed within this time are written at once
	gatherFailures = time.Minute            // failures within this time that are alike make one record
	readsWithin    = 24 * time.Hour         // reads of a token or a delegate within this time that are alike make two records: of the first, and of the others
	keptOK         = 5000                   // newest records of an archive that are kept: those of logins that succeeded,
	keptFailures   = 1000                   // and the others, so that failures never displace those
	maxGathered    = 10_000                 // records that wait to be written; what goes beyond is counted and lost
	maxSources     = 20                     // addresses of failures for one mailbox that are told apart within a minute
	maxBatch       = 50                     // records that one Update writes
)

// accessLog writes the access log in the background. Its methods may be called concurrently.
type accessLog struct {
	store  kv.Store
	log    *slog.Logger
	lost   *metrics.Counter
	wake   chan struct{} // has room for one
	quit   func()        // ends the writer
	ending chan struct{} // closed by quit
	ended  chan struct{} // closed when the writer has ended
	writes sync.Mutex    // held while gathered records are written

	mu       sync.Mutex
	gathered map[gatherKey]*gathered // guarded by mu
	sources  map[string]int          // addresses of failures by archive, among gathered; guarded by mu
	readers  map[reader]*reads       // guarded by mu
	closing  bool                    // nothing waits any more; guarded by mu
}

// reads reports whether the record is not of a login, but of one who reads without a login to that mailbox.
func (a Access) reads() bool {
	return a.Role == policy.RoleToken || a.Role == policy.RoleDelegate && a.Protocol == ProtocolWeb
}

// reader is a token, or a delegate on the pages, that reads an archive.
type reader struct{ archive, name string }

// reads is what a reader has read of an archive since a time. From each address, the first read is on record.
type reads struct {
	since time.Time
	from  map[string]bool
}

// gathered is a record to be written. Due is when, where it waits for others that are alike for longer than they otherwise do.
type gathered struct {
	Access
	due time.Time
}

// gatherKey has what logins must have in common to be one record.
type gatherKey struct {
	archive string
	Access  // without times and count
}

func newAccessLog(store kv.Store, log *slog.Logger, m *metrics.Registry) *accessLog {
	a := &accessLog{
		store: store, log: log, wake: make(chan struct{}, 1), ending: make(chan struct{}), ended: make(chan struct{}),
		lost:     m.Counter("copialettere_access_log_lost_total", "Logins that could not be put on record, because too many came at once or the store failed."),
		gathered: make(map[gatherKey]*gathered), sources: make(map[string]int), readers: make(map[reader]*reads),
	}
	a.quit = sync.OnceFunc(func() { close(a.ending) })
	go a.run()
	return a
}

// add takes a login into the log of an archive. It does not wait.
func (a *accessLog) add(archive string, one Access) {
	one.Time = one.Time.UTC().Round(0)
	a.mu.Lock()
	defer a.mu.Unlock()
	var due time.Time
	if one.reads() {
		due = a.reads(archive, &one)
	}
	key := gatherKey{archive, one}
	key.Time = time.Time{}
	if a.gathered[key] == nil && one.Result != ResultOK {
		if a.sources[archive] >= maxSources {
			key.Address, one.Address = "", ""
		} else {
			a.sources[archive]++
		}
	}
	if same := a.gathered[key]; same != nil {
		same.Count++
		same.Until = one.Time
		return
	}
	if len(a.gathered) >= maxGathered {
		a.lost.Inc()
		return
	}
	one.Count = 1
	a.gathered[key] = &gathered{one, due}
	if one.Result == ResultOK && due.IsZero() || a.crowded() {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// crowded reports whether there is no room for records that wait longer than they must. The caller holds mu.
func (a *accessLog) crowded() bool { return len(a.gathered) > maxGathered/2 }

// reads notes that a reader reads an archive, and returns when that is to be written: now for the first read from an address within readsWithin, and
// at the end of that time for the others. The caller holds mu.
func (a *accessLog) reads(archive string, one *Access) (due time.Time) {
	of := reader{archive, one.Login}
	r := a.readers[of]
	if r == nil || one.Time.Sub(r.since) >= readsWithin {
		if len(a.readers) >= maxCounts {
			dropSome(a.readers)
		}
		r = &reads{one.Time, make(map[string]bool)}
		a.readers[of] = r
	}
	if !r.from[one.Address] && len(r.from) >= maxSources {
		one.Address = ""
	}
	if !r.from[one.Address] {
		r.from[one.Address] = true
		return time.Time{}
	}
	return r.since.Add(readsWithin)
}

// waiting yields the reads of an archive that are gathered and wait to be written, oldest first.
func (a *accessLog) waiting(archive string) iter.Seq2[Access, error] {
	return func(yield func(Access, error) bool) {
		var list []Access
		a.mu.Lock()
		for key, one := range a.gathered {
			if key.archive == archive && !one.due.IsZero() {
				list = append(list, one.Access)
			}
		}
		a.mu.Unlock()
		slices.SortFunc(list, func(a, b Access) int { return a.Time.Compare(b.Time) })
		for _, one := range list {
			if !yield(one, nil) {
				return
			}
		}
	}
}

// run writes what was gathered, until close.
func (a *accessLog) run() {
	defer close(a.ended)
	failures := time.NewTicker(gatherFailures)
	defer failures.Stop()
	for {
		all := false
		select {
		case <-a.ending:
			a.mu.Lock()
			a.closing = true
			a.mu.Unlock()
			a.write(context.Background(), true)
			return
		case <-failures.C:
			all = true
		case <-a.wake:
			select {
			case <-time.After(gatherOK):
			case <-a.ending:
			}
		}
		a.write(context.Background(), all)
	}
}

// close writes everything and ends the writer. It is no error to call it again.
func (a *accessLog) close() {
	a.quit()
	<-a.ended
}

// write writes the gathered logins that succeeded, or all.
func (a *accessLog) write(ctx context.Context, all bool) {
	a.writes.Lock()
	defer a.writes.Unlock()
	type placed struct {
		archive string
		Access
	}
	var list []placed
	a.mu.Lock()
	now, early := time.Now(), a.closing || a.crowded()
	for key, one := range a.gathered {
		if (all || one.Result == ResultOK) && (early || !one.due.After(now)) {
			list = append(list, placed{key.archive, one.Access})
			delete(a.gathered, key)
		}
	}
	if all {
		clear(a.sources)
	}
	a.mu.Unlock()
	slices.SortFunc(list, func(a, b placed) int { return a.Time.Compare(b.Time) })
	for batch := range slices.Chunk(list, maxBatch) {
		byArchive := make(map[string][]Access)
		var locks []string
		for _, one := range batch {
			if byArchive[one.archive] == nil {
				locks = append(locks, string(headKey(one.archive)))
			}
			byArchive[one.archive] = append(byArchive[one.archive], one.Access)
		}
		err := a.store.Update(ctx, locks, func(tx kv.Tx) error {
			for archive, records := range byArchive {
				if err := appendAccess(tx, archive, records); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			a.lost.Add(int64(len(batch)))
			a.log.Error("the access log could not be written", "records", len(batch), "error", err)
		}
	}
}

// accessHead says which records of an archive there are: from First up to Next, without a hole.
type accessHead struct {
	OK     span `json:"ok"`
	Failed span `json:"failed"`
}

type span struct {
	First uint64 `json:"first"`
	Next  uint64 `json:"next"`
}

func headKey(archive string) []byte { return []byte("ih" + archive) }

// The kinds of records, in their keys.
const (
	kindOK     = 's'
	kindFailed = 'f'
)

func accessKey(archive string, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("ia"+archive+"\x00"), kind), n)
}

func readHead(tx kv.View, archive string) (h accessHead, err error) {
	b, err := tx.Get(headKey(archive))
	if errors.Is(err, kv.ErrNotFound) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		return h, fmt.Errorf("access log of %s: %w", archive, err)
	}
	return h, nil
}

// appendAccess adds records to the log of an archive, and removes the oldest beyond what is kept.
func appendAccess(tx kv.Tx, archive string, records []Access) error {
	h, err := readHead(tx, archive)
	if err != nil {
		return err
	}
	for _, one := range records {
		s, kind, kept := &h.Failed, byte(kindFailed), uint64(keptFailures)
		if one.Result == ResultOK {
			s, kind, kept = &h.OK, kindOK, keptOK
		}
		value, err := json.Marshal(one)
		if err != nil {
			return err
		}
		tx.Put(accessKey(archive, kind, s.Next), value)
		s.Next++
		for ; s.Next-s.First > kept; s.First++ {
			tx.Delete(accessKey(archive, kind, s.First))
		}
	}
	return putHead(tx, archive, h)
}

func putHead(tx kv.Tx, archive string, h accessHead) error {
	value, err := json.Marshal(h)
	if err == nil {
		tx.Put(headKey(archive), value)
	}
	return err
}

// read yields the records of one kind, oldest first.
func (a *accessLog) read(ctx context.Context, archive string, kind byte) iter.Seq2[Access, error] {
	return func(yield func(Access, error) bool) {
		for pair, err := range a.store.Scan(ctx, accessKey(archive, kind, 0), accessKey(archive, kind, 1<<64-1)) {
			var one Access
			if err == nil {
				err = json.Unmarshal(pair.Value, &one)
			}
			if err != nil {
				yield(Access{}, fmt.Errorf("access log of %s: %w", archive, err))
				return
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

// forget removes the records of an archive from before a time.
func (a *accessLog) forget(ctx context.Context, archive string, before time.Time) (removed int, err error) {
	for more := true; more; {
		n := 0
		err := a.store.Update(ctx, []string{string(headKey(archive))}, func(tx kv.Tx) error {
			n = 0
			h, err := readHead(tx, archive)
			if err != nil {
				return err
			}
			for _, s := range []struct {
				*span
				kind byte
			}{{&h.OK, kindOK}, {&h.Failed, kindFailed}} {
				for ; s.First < s.Next && n < maxBatch; s.First++ {
					b, err := tx.Get(accessKey(archive, s.kind, s.First))
					var one Access
					if err == nil {
						err = json.Unmarshal(b, &one)
					}
					if err != nil {
						return fmt.Errorf("access log of %s: %w", archive, err)
					}
					if !one.Time.Before(before) {
						break
					}
					tx.Delete(accessKey(archive, s.kind, s.First))
					n++
				}
			}
			if n == 0 {
				return nil
			}
			return putHead(tx, archive, h)
		})
		if err != nil {
			return removed, err
		}
		removed, more = removed+n, n == maxBatch
	}
	return removed, nil
}

// forgetAll removes the records of all archives from before a time, as long as ctx lasts.
func (a *accessLog) forgetAll(ctx context.Context, before time.Time) (removed int, err error) {
	for pair, err := range a.store.Scan(ctx, []byte("ih"), []byte("ii")) {
		if err != nil {
			return removed, err
		}
		n, err := a.forget(ctx, string(pair.Key[2:]), before)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// back yields the records of one kind of an archive, newest first.
func (a *accessLog) back(ctx context.Context, archive string, kind byte) iter.Seq2[Access, error] {
	return func(yield func(Access, error) bool) {
		b, err := a.store.Get(ctx, headKey(archive))
		if errors.Is(err, kv.ErrNotFound) {
			return
		}
		var h accessHead
		if err == nil {
			err = json.Unmarshal(b, &h)
		}
		if err != nil {
			yield(Access{}, fmt.Errorf("access log of %s: %w", archive, err))
			return
		}
		s := h.Failed
		if kind == kindOK {
			s = h.OK
		}
		// Most callers want the newest few.
		for end, step := s.Next, uint64(4); end > s.First; step = 64 {
			begin := max(end, s.First+step) - step
			var some []Access
			for pair, err := range a.store.Scan(ctx, accessKey(archive, kind, begin), accessKey(archive, kind, end)) {
				var one Access
				if err == nil {
					err = json.Unmarshal(pair.Value, &one)
				}
				if err != nil {
					yield(Access{}, fmt.Errorf("access log of %s: %w", archive, err))
					return
				}
				some = append(some, one)
			}
			for _, one := range slices.Backward(some) {
				if !yield(one, nil) {
					return
				}
			}
			end = begin
		}
	}
}

// AccessesBack yields the access log of an archive, given by its name, newest first by when they were written: those that succeeded, then the others. It
// reads each as long as goOn wants what is of that time or older. What is not written yet is not among it: failures for a minute, reads of a token for a day.
func (a *Authenticator) AccessesBack(ctx context.Context, archive string, goOn func(time.Time) bool) iter.Seq2[Access, error] {
	return func(yield func(Access, error) bool) {
		if a == nil {
			return
		}
		for _, kind := range []byte{kindOK, kindFailed} {
			for one, err := range a.access.back(ctx, archive, kind) {
				if err == nil && !goOn(one.Time.Add(readsWithin)) {
					break
				}
				if !yield(one, err) || err != nil {
					return
				}
			}
		}
	}
}
