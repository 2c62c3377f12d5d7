// Package jobs runs exports in the background of the daemon, for those who read archives on the pages or by the API. A job writes one ZIP of
// export.FormZIP. It goes on without its reader and resumes after a restart; its ZIP can be downloaded, also in parts, until it expires.
//
// # Who has a job
//
// A job is of one archive, and everybody who may read that archive sees it. It goes, with its ZIP, when it is removed or expires, and as soon as
// whoever asked for it may not read that archive any more: the right has ended, the archive is off, or the address leads to another archive.
//
// # Layout on disk
//
// The folder is made with mode 0700, and all files in it with 0600.
//
//	ID/job.json              what is asked for, by whom, and what came of it: see record. ID is 26 random characters
//	ID/export.zip            the ZIP, once it is whole
//	ID/export.zip.part/      the ZIP while it is written: see copialettere/journal/export
//
// Where the journal is encrypted job.json is sealed by the key of the operator (sealing.Box), and the other files by a key in it (sealing.File). When the
// operator changes his key, job.json is sealed anew at the next start. A job from before the journal was encrypted goes then.
//
// A folder without a job.json that can be read is the rest of a job that was being made or removed, and goes when the program starts. All of it may be
// deleted while the program does not run: the messages stay in the journal.
//
// # Bounds
//
// One job is written at a time, in the order in which they were asked for. An archive has at most mostOfArchive jobs, with those that have ended, and
// mostUnended wait altogether. All ZIPs together take at most Config.MaxSize, and none is written into the room that the disk has below its
// first watermark: deliveries need that. While messages are being delivered, a job rests for 95 ms after each 5 ms of reading.
package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/journal/durable"
	"copialettere/journal/export"
	"copialettere/journal/export/sincro"
	"copialettere/journal/sealing"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// Bounds of the number of jobs.
const (
	mostOfArchive = 3
	mostUnended   = 100
)

// lookEvery is how often it is looked whether jobs are to go. What changes rights wakes Run besides: see Wake.
const lookEvery = time.Minute

var (
	// ErrNone says that there is no such job, or not any more.
	ErrNone = errors.New("there is no such export")
	// ErrUnfinished says that the ZIP of a job is not whole, or that the job has failed.
	ErrUnfinished = errors.New("the export is not finished")
	// ErrMany says that no further job is taken now. The error that wraps it says what to do.
	ErrMany = errors.New("too many exports")
)

// State is how far a job is.
type State string

// The states of a job.
const (
	StateWaiting State = "waiting"
	StateRunning State = "running"
	StateDone    State = "done"
	StateFailed  State = "failed" // see Job.Reason
)

// Reason is why a job has failed.
type Reason string

// The reasons.
const (
	ReasonRoom  Reason = "room"  // the disk, or what exports may take of it, has no room for the messages
	ReasonFault Reason = "fault" // something failed at the server; its log tells
)

// Job is what is told of a job. Others script against its names.
type Job struct {
	ID      string `json:"id"`
	Mailbox string `json:"mailbox"`
	By      string `json:"by"` // who asked for it, as "owner anna@alpha.test"
	export.Selection
	Sincro *sincro.Agent `json:"sincro,omitempty"` // who answers for the ZIP before a service for legal preservation: see export.Options
	Asked  time.Time     `json:"asked"`
	State  State         `json:"state"`
	// Messages and Bytes are how far it has come, before compression, of so many. The latter are 0 until they are known.
	Messages uint64 `json:"messages"`
	Of       uint64 `json:"of"`
	Bytes    int64  `json:"bytes"`
	OfBytes  int64  `json:"of_bytes"`
	// The rest is of a job that has ended.
	Ended   time.Time `json:"ended,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // when it goes
	Reason  Reason    `json:"reason,omitempty"`
	Size    int64     `json:"size,omitempty"`    // of the ZIP, in bytes
	SHA256  string    `json:"sha256,omitempty"`  // of the ZIP
	Missing uint64    `json:"missing,omitempty"` // how many messages and months it lacks; its INCOMPLETE.txt names them
}

// Unended reports whether a job waits or runs.
func (j *Job) Unended() bool { return j.State == StateWaiting || j.State == StateRunning }

// Config is what may change while the program runs.
type Config struct {
	Archive *archive.Archive
	Keep    time.Duration // how long a job stays after its end
	MaxSize int64         // what all ZIPs may take together, in bytes
}

// Options are what Jobs work with. All but Box, Now and Program are required.
type Options struct {
	Folder string       // see the package comment; it is made when it is needed
	Box    *sealing.Box // seals what is in it; nil where the journal is not encrypted
	// Room returns how many bytes exports may still write to the disk. It may be negative.
	Room    func() (int64, error)
	Logger  *slog.Logger
	Now     func() time.Time
	Program string // version of this program

	step func(what string) error // see export.Options.Step; nil for none
}

// Jobs are all jobs of a data folder. Run, or Work, must have one caller; the other methods may be called concurrently.
type Jobs struct {
	options Options
	config  atomic.Pointer[Config]
	wake    chan struct{} // has room for one: jobs may have to go
	work    chan struct{} // has room for one: a job may wait

	mu  sync.Mutex
	all map[string]*job // guarded by mu
}

// job is one job under way. What it is about never changes.
type job struct {
	record
	state    State             // guarded by Jobs.mu
	ended    ended             // guarded by Jobs.mu
	progress export.Progress   // guarded by Jobs.mu
	stop     func(cause error) // of the run; nil while it does not run; guarded by Jobs.mu
	ready    bool              // its record is on the disk; guarded by Jobs.mu
	gone     bool              // it was removed; guarded by Jobs.mu
}

// New reads what jobs there are. Call Configure before anything else.
func New(o Options) (*Jobs, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	j := &Jobs{options: o, wake: make(chan struct{}, 1), work: make(chan struct{}, 1), all: make(map[string]*job)}
	folders, err := os.ReadDir(o.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the exports: %w", err)
	}
	for _, f := range folders {
		one, err := j.read(f.Name())
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				o.Logger.Error("an export is removed: it cannot be read", "export", f.Name(), "error", err)
			}
			if err := j.erase(f.Name()); err != nil {
				return nil, err
			}
			continue
		}
		j.all[f.Name()] = one
	}
	poke(j.work)
	return j, nil
}

// Configure puts a configuration in force. Nil Jobs do nothing.
func (j *Jobs) Configure(c Config) {
	if j == nil {
		return
	}
	j.config.Store(&c)
	j.Wake()
}

// Wake makes Run look whether jobs are to go. It is to be called when rights may have changed, and does not block. Nil Jobs do nothing.
func (j *Jobs) Wake() {
	if j != nil {
		poke(j.wake)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run writes ZIPs, and removes what is to go, until ctx ends. A job that is being written then goes on at the next Run.
func (j *Jobs) Run(ctx context.Context) {
	var looking sync.WaitGroup
	looking.Go(func() { j.lookAfter(ctx) })
	defer looking.Wait()
	for {
		j.Work(ctx)
		select {
		case <-ctx.Done():
			return
		case <-j.work:
		}
	}
}

// Work writes the ZIPs of all jobs that wait. Run calls it.
func (j *Jobs) Work(ctx context.Context) {
	for j.runNext(ctx) {
	}
}

// lookAfter removes what is to go.
func (j *Jobs) lookAfter(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		j.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-j.wake:
		}
	}
}

// look removes the jobs that have expired, and those whose reader may not have them any more.
func (j *Jobs) look(ctx context.Context) {
	for _, one := range j.list(func(*job) bool { return true }) {
		if expires := j.view(one).Expires; !expires.IsZero() && !j.options.Now().Before(expires) {
			j.drop(one, "expired")
			continue
		}
		_, err := j.reader(one).Opened(ctx)
		if ended, why := endedBy(err); ended {
			j.drop(one, why)
		} else if err != nil && ctx.Err() == nil {
			j.options.Logger.Error("cannot find out whether an export may stay", "export", one.ID, "mailbox", one.Mailbox, "error", err)
		}
	}
}

// list returns jobs in the order in which they were asked for.
func (j *Jobs) list(wanted func(*job) bool) (list []*job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, one := range j.all {
		if wanted(one) {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b *job) int { return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.ID, b.ID)) })
	return list
}

// drop removes a job. Of one that runs the files go when it has stopped.
func (j *Jobs) drop(one *job, why string) {
	j.mu.Lock()
	if one.gone {
		j.mu.Unlock()
		return
	}
	one.gone = true
	delete(j.all, one.ID)
	stop := one.stop
	j.mu.Unlock()
	j.options.Logger.Info("export removed", "export", one.ID, "mailbox", one.Mailbox, "why", why)
	if stop != nil {
		stop(ErrNone)
		return
	}
	j.eraseLogged(one.ID)
}

// Start begins a job for somebody, and puts it on record in the log of the mailbox. It needs archive.RightRead, and an archive that is not off. agent
// may be nil: see Job.
func (j *Jobs) Start(ctx context.Context, who policy.Actor, mailbox policy.Address, s export.Selection, agent *sincro.Agent) (Job, error) {
	if err := s.Check(); err != nil {
		return Job{}, err
	}
	a := j.config.Load().Archive
	name, err := a.WebReader(who, mailbox).Opened(ctx)
	if err != nil {
		return Job{}, err
	}
	one := &job{state: StateWaiting, record: record{
		Layout: layout, ID: rand.Text(), Mailbox: mailbox.String(), Archive: name, Role: who.Role, Name: who.Name, Selection: s, Sincro: agent, Asked: j.options.Now().UTC(),
	}}
	if j.options.Box != nil {
		one.Key = make([]byte, 32)
		rand.Read(one.Key)
	}
	if err := j.admit(one); err != nil {
		return Job{}, err
	}
	err = a.NoteExport(ctx, who, mailbox, s.String())
	if err == nil {
		err = j.write(one)
	}
	j.mu.Lock()
	if err != nil {
		delete(j.all, one.ID)
	} else {
		one.ready = true
	}
	j.mu.Unlock()
	if err != nil {
		j.eraseLogged(one.ID)
		return Job{}, err
	}
	poke(j.work)
	return j.view(one), nil
}

// admit takes a job in, or refuses it because there are too many.
func (j *Jobs) admit(one *job) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	own, unended := 0, 0
	for _, other := range j.all {
		if other.Archive == one.Archive {
			own++
		}
		if other.ended.At.IsZero() {
			unended++
		}
	}
	switch {
	case own >= mostOfArchive:
		return fmt.Errorf("%w: the archive has %d already: remove one", ErrMany, own)
	case unended >= mostUnended:
		return fmt.Errorf("%w: %d wait already: try again later", ErrMany, unended)
	}
	j.all[one.ID] = one
	return nil
}

// List returns the jobs of an archive, the last one first. It needs archive.RightRead.
func (j *Jobs) List(ctx context.Context, who policy.Actor, mailbox policy.Address) ([]Job, error) {
	name, err := j.config.Load().Archive.WebReader(who, mailbox).Opened(ctx)
	if err != nil {
		return nil, err
	}
	found := j.list(func(one *job) bool { return one.Archive == name })
	slices.Reverse(found)
	list := make([]Job, len(found))
	for i, one := range found {
		list[i] = j.view(one)
	}
	return list, nil
}

// Get returns a job of an archive. It needs archive.RightRead. The error wraps ErrNone where there is none.
func (j *Jobs) Get(ctx context.Context, who policy.Actor, mailbox policy.Address, id string) (Job, error) {
	one, err := j.find(ctx, who, mailbox, id)
	if err != nil {
		return Job{}, err
	}
	return j.view(one), nil
}

// Remove stops a job, and removes its ZIP. It needs archive.RightRead.
func (j *Jobs) Remove(ctx context.Context, who policy.Actor, mailbox policy.Address, id string) (Job, error) {
	one, err := j.find(ctx, who, mailbox, id)
	if err != nil {
		return Job{}, err
	}
	last := j.view(one)
	j.drop(one, "removed by "+who.String())
	return last, nil
}

// Forget removes the jobs of an archive that is erased, by its name (policy.Mailbox.Archive). Nil Jobs have none.
func (j *Jobs) Forget(name string) {
	if j == nil {
		return
	}
	for _, one := range j.list(func(one *job) bool { return one.Archive == name }) {
		j.drop(one, "the archive is erased")
	}
}

// Of returns the jobs of an archive by its name, with what their ZIPs take. Nil Jobs have none.
func (j *Jobs) Of(name string) (list []Job) {
	if j == nil {
		return nil
	}
	for _, one := range j.list(func(one *job) bool { return one.Archive == name }) {
		list = append(list, j.view(one))
	}
	return list
}

func (j *Jobs) find(ctx context.Context, who policy.Actor, mailbox policy.Address, id string) (*job, error) {
	name, err := j.config.Load().Archive.WebReader(who, mailbox).Opened(ctx)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	one := j.all[id]
	if one == nil || one.Archive != name {
		return nil, fmt.Errorf("%.50q: %w", id, ErrNone)
	}
	return one, nil
}

// view returns what is told of a job.
func (j *Jobs) view(one *job) Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := Job{
		ID: one.ID, Mailbox: one.Mailbox, By: one.who().String(), Selection: one.Selection, Sincro: one.Sincro, Asked: one.Asked, State: one.state,
		Messages: one.progress.Messages, Of: one.progress.Of, Bytes: one.progress.Bytes, OfBytes: one.progress.OfAll,
	}
	if e := one.ended; !e.At.IsZero() {
		v.Ended, v.Expires, v.Reason, v.Size, v.SHA256, v.Missing = e.At, e.At.Add(j.config.Load().Keep), e.Reason, e.Size, e.SHA256, e.Missing
	}
	return v
}

// eraseLogged removes the folder of a job. What cannot be removed goes at the next start.
func (j *Jobs) eraseLogged(id string) {
	if err := j.erase(id); err != nil {
		j.options.Logger.Error("the files of an export are not removed: they go at the next start", "export", id, "error", err)
	}
}

// erase removes job.json first: without it the rest is nothing.
func (j *Jobs) erase(id string) error {
	folder := filepath.Join(j.options.Folder, id)
	err := os.Remove(filepath.Join(folder, recordName))
	if err == nil {
		err = durable.SyncFolder(folder)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.RemoveAll(folder)
	}
	if err != nil {
		return fmt.Errorf("remove an export: %w", err)
	}
	return nil
}
