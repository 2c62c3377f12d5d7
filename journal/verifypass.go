package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// A verification in the background is a pass over all months, which may take weeks. It checks what Verify checks, but for chunks that no entry
// refers to: they are the business of the sweep. So it needs no memory for references.
//
// Its state is the value of the key v in the settings, a JSON object with "last", the Pass that ended last, and "now", the one under way. That has
// the fields of a Pass and
//
//	"read"    bytes read so far
//	"done"    the newest month that is done
//	"month"   the month under way
//	"key"     the newest key of that month whose bytes were read: of an entry, a deleted entry or a digest, in this order
//
// The report of "now" is that of the months done, and of the bytes that were read of the month under way. After a restart those bytes are not read
// again; all else of that month, which is little, is.

// Bounds of a pass.
const (
	passSave      = 5 * time.Minute        // how often the state is stored, at least at the next key
	passSaveStop  = 500 * time.Millisecond // for storing it when the program stops
	passQuantum   = 256 << 10              // bytes read without a pause
	passWork      = 20 * time.Millisecond  // work without a pause
	passIdle      = 3                      // a pause is so many times as long as the work before it
	passIdleLimit = time.Minute            // the longest pause for the sake of passIdle
)

// Why a pass ends early, beside the end of its context.
var (
	errPassStopped = errors.New("the verification was stopped") // by PassOptions.Rate
	errPassState   = errors.New("store the state of the verification")
)

// endsPass says whether an error ends a pass, and is no fault of the month under way.
func endsPass(err error) bool { return errors.Is(err, errPassStopped) || errors.Is(err, errPassState) }

// Pass is one verification of the whole journal in the background.
type Pass struct {
	Begun  time.Time `json:"begun"`
	Ended  time.Time `json:"ended,omitzero"` // zero while it is under way
	Report Report    `json:"report"`         // without Chunks, Stored and Orphans
}

// PassOptions are the options of KeepVerified. Every and Rate are required.
type PassOptions struct {
	Every time.Duration // from the start of a pass to the start of the next one
	// Made is when the journal was made. The first pass starts Every after it: what has just been written needs no check yet. The zero time is
	// long ago.
	Made time.Time
	// Rate returns how many bytes a second a pass may read, before compression. It is asked again and again; 0 stops the pass.
	Rate func() int64
	// Fault is told of the first faults in words, as they are found. After a restart it is told again of some. May be nil.
	Fault func(detail string)
	// Evidence returns what the checkpoints are judged by, once all months are done. Nil: no signature is judged.
	Evidence func() EvidenceOptions
}

// storedPasses is the value of the key v.
type storedPasses struct {
	Last *Pass      `json:"last,omitempty"`
	Now  *passState `json:"now,omitempty"`
}

// passState is how far a pass has come.
type passState struct {
	Pass
	Read  int64    `json:"read"`
	Done  kv.Month `json:"done,omitempty"`
	Month kv.Month `json:"month,omitempty"`
	Key   []byte   `json:"key,omitempty"`
}

const passKey = "v"

// passOrder are the first bytes of the keys whose bytes a pass reads, in its order.
const passOrder = "eth"

// pass is a pass that runs. On nil, the pass of a verification in the foreground, its methods do nothing.
type pass struct {
	j      *Journal
	ctx    context.Context
	o      PassOptions
	last   *Pass
	report Report    // of all that it has found
	state  passState // as it would be stored now
	kept   []string  // faults of the key that is being read
	resume []byte    // the key up to which the month under way was read before
	saved  time.Time

	since time.Time // when the last pause ended
	bytes int       // read since
}

// KeepVerified verifies the whole journal in the background: it goes on with the pass under way, or begins one if that is due, and returns it when it
// has ended; nil if none is due. An error, or the end of ctx, breaks the pass off, and the next call resumes it.
//
// It reads at no more than o.Rate, and rests for three quarters of the time: a disk that has much else to do is asked less. It needs memory for the
// folders of one month, and for one chunk.
func (j *Journal) KeepVerified(ctx context.Context, o PassOptions) (*Pass, error) {
	stored, err := j.passes(ctx)
	if err != nil || !stored.due(j.now(), o) {
		return nil, err
	}
	if !j.alone {
		held, release, err := j.lease(ctx, "verify")
		if err != nil {
			return nil, fmt.Errorf("wait for another process: %w", err)
		}
		defer release()
		ctx = held
		if stored, err = j.passes(ctx); err != nil || !stored.due(j.now(), o) {
			return nil, err
		}
	}
	if o.Evidence == nil {
		o.Evidence = func() EvidenceOptions { return EvidenceOptions{} }
	}
	p := &pass{j: j, ctx: ctx, o: o, last: stored.Last, saved: time.Now(), since: time.Now()}
	if stored.Now != nil {
		p.state = *stored.Now
		p.resume = p.state.Key
	} else {
		p.state.Begun = j.now().UTC()
	}
	if err := p.run(); err != nil {
		return nil, errors.Join(err, p.saveStopped())
	}
	return p.end()
}

// due says whether there is something to verify now. A pass of a clock that was far ahead does not count; clocks of two machines may differ.
func (s storedPasses) due(now time.Time, o PassOptions) bool {
	since := o.Made
	if s.Last != nil {
		since = s.Last.Begun
	}
	return s.Now != nil || now.Sub(since).Abs() >= o.Every
}

// passes reads the state of the passes, and shows it in the metrics.
func (j *Journal) passes(ctx context.Context) (storedPasses, error) {
	var stored storedPasses
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return stored, err
	}
	b, err := s.Get(ctx, []byte(passKey))
	if errors.Is(err, kv.ErrNotFound) {
		return stored, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &stored)
	}
	if err != nil {
		return storedPasses{}, fmt.Errorf("state of the verification: %w", err)
	}
	j.verified.show(stored)
	return stored, nil
}

// LastPass returns the verification in the background that ended last, nil for none.
func (j *Journal) LastPass(ctx context.Context) (*Pass, error) {
	stored, err := j.passes(ctx)
	return stored.Last, err
}

// run verifies the months that are not done. A month that began meanwhile counts too.
func (p *pass) run() error {
	p.report = p.state.Report.clone()
	p.report.tell = func(detail string) {
		p.showFaults()
		if p.o.Fault != nil {
			p.o.Fault(detail)
		}
	}
	v := &verifier{j: p.j, ctx: p.ctx, report: &p.report, pass: p, logPart: loggedPart}
	for {
		months, err := p.j.engine.Volumes(p.ctx)
		if err != nil {
			return fmt.Errorf("list volumes: %w", err)
		}
		left := slices.DeleteFunc(months, func(m kv.Month) bool { return m <= p.state.Done })
		p.j.verified.monthsLeft.Set(int64(len(left)))
		if len(left) == 0 {
			err := v.checkpoints(p.o.Evidence())
			p.state.Report = p.report.clone()
			return err
		}
		if left[0] != p.state.Month {
			p.state.Month, p.state.Key, p.resume = left[0], nil, nil
		}
		v.patience = &patience{left: maxPatience}
		if err := v.verifyMonth(left[0]); err != nil {
			return err
		}
		p.state.Done, p.state.Month, p.state.Key, p.resume = left[0], "", nil, nil
		p.kept = nil
		p.state.Report = p.report.clone()
		if err := p.saveSeldom(); err != nil {
			return err
		}
	}
}

// clone returns a copy that shares no memory, and tells nobody.
func (r Report) clone() Report {
	r.Details, r.PassedOver, r.tell = slices.Clone(r.Details), slices.Clone(r.PassedOver), nil
	return r
}

// skips says whether the bytes of a key were read before.
func (p *pass) skips(key []byte) bool {
	if p == nil || len(p.resume) == 0 {
		return false
	}
	is, was := strings.IndexByte(passOrder, key[0]), strings.IndexByte(passOrder, p.resume[0])
	return is < was || is == was && string(key) <= string(p.resume)
}

// reached says that the bytes of a key have been read.
func (p *pass) reached(key []byte) error {
	if p == nil || p.skips(key) {
		return nil
	}
	p.state.Key = slices.Clone(key)
	for _, detail := range p.kept {
		p.state.Report.fault("%s", detail)
	}
	p.kept = nil
	return p.saveSeldom()
}

// keep keeps a fault of the bytes of the key that is reached next: they are not read again after a restart.
func (p *pass) keep(format string, args ...any) {
	if p != nil {
		p.kept = append(p.kept, fmt.Sprintf(format, args...))
	}
}

// paced returns a writer that spends what is written to w.
func (p *pass) paced(w io.Writer) io.Writer {
	if p == nil {
		return w
	}
	return pacedWriter{w, p}
}

type pacedWriter struct {
	io.Writer
	p *pass
}

func (w pacedWriter) Write(b []byte) (int, error) {
	if err := w.p.spend(len(b)); err != nil {
		return 0, err
	}
	return w.Writer.Write(b)
}

// spend counts bytes that were read, and pauses if it is time to.
func (p *pass) spend(n int) error {
	if p == nil {
		return nil
	}
	p.bytes += n
	p.state.Read += int64(n)
	p.j.verified.read.Set(p.state.Read)
	worked := time.Since(p.since)
	if p.bytes < passQuantum && worked < passWork {
		return p.ctx.Err()
	}
	rate := p.o.Rate()
	if rate <= 0 {
		return errPassStopped
	}
	atRate := time.Duration(float64(p.bytes) / float64(rate) * float64(time.Second))
	timer := time.NewTimer(max(atRate-worked, min(passIdle*worked, passIdleLimit)))
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
		return p.ctx.Err()
	case <-timer.C:
	}
	p.since, p.bytes = time.Now(), 0
	return nil
}

// saveSeldom stores the state if it was not stored for a while.
func (p *pass) saveSeldom() error {
	if time.Since(p.saved) < passSave {
		return nil
	}
	return p.save(p.ctx, storedPasses{p.last, &p.state})
}

// saveStopped stores the state of a pass that is broken off, unless another process goes on with it.
func (p *pass) saveStopped() error {
	if errors.Is(context.Cause(p.ctx), errLeaseLost) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), passSaveStop)
	defer cancel()
	return p.save(ctx, storedPasses{p.last, &p.state})
}

// end stores the pass as the last one.
func (p *pass) end() (*Pass, error) {
	p.state.Ended = p.j.now().UTC()
	ended := &p.state.Pass
	if err := p.save(p.ctx, storedPasses{Last: ended}); err != nil {
		return nil, err
	}
	return ended, nil
}

func (p *pass) save(ctx context.Context, stored storedPasses) error {
	p.saved = time.Now()
	b, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	s, err := p.j.engine.Settings(ctx)
	if err == nil {
		err = s.Update(ctx, []string{passKey}, func(tx kv.Tx) error {
			tx.Put([]byte(passKey), b)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errPassState, err)
	}
	p.j.verified.show(stored)
	if stored.Now != nil {
		p.showFaults()
	}
	return nil
}

// showFaults shows what was found so far in the metrics. The state that is stored may lack some of it.
func (p *pass) showFaults() {
	faults := p.report.Faults
	if p.last != nil {
		faults = max(faults, p.last.Report.Faults)
	}
	p.j.verified.faults.Set(faults)
}

// passMetrics show the passes.
type passMetrics struct {
	end, duration, faults, passedOver, monthsLeft, read *metrics.Gauge
}

func newPassMetrics(r *metrics.Registry) passMetrics {
	return passMetrics{
		end:      r.Gauge("copialettere_verify_end_timestamp_seconds", "When the last verification in the background ended, in seconds since 1970; 0 for none."),
		duration: r.Gauge("copialettere_verify_duration_seconds", "How long it took, stops included."),
		faults: r.Gauge("copialettere_verify_faults",
			"Faults that the verification under way has found, or the last one where it found more. \"copialettere verify\" and the log name them."),
		passedOver: r.Gauge("copialettere_verify_passed_over_months", "Months that the last one or that under way could not read; they count as faults too."),
		monthsLeft: r.Gauge("copialettere_verify_months_left", "Months that the verification under way has yet to read; 0 if none is under way."),
		read:       r.Gauge("copialettere_verify_read_bytes", "Bytes that the verification under way has read; 0 if none is under way."),
	}
}

func (m passMetrics) show(stored storedPasses) {
	var faults int64
	var passedOver int
	if last := stored.Last; last != nil {
		m.end.Set(last.Ended.Unix())
		m.duration.Set(int64(last.Ended.Sub(last.Begun).Seconds()))
		faults, passedOver = last.Report.Faults, len(last.Report.PassedOver)
	}
	if now := stored.Now; now != nil {
		faults, passedOver = max(faults, now.Report.Faults), max(passedOver, len(now.Report.PassedOver))
		m.read.Set(now.Read)
	} else {
		m.read.Set(0)
		m.monthsLeft.Set(0)
	}
	m.faults.Set(faults)
	m.passedOver.Set(int64(passedOver))
}
