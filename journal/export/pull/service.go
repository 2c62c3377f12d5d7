package pull

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

// ErrRunning says that mail of this account is being imported into this mailbox already.
var ErrRunning = errors.New("an import from this account is under way")

// Pull is a profile, as it is shown. Others script against its names.
type Pull struct {
	Mailbox     string      `json:"mailbox"`
	Name        string      `json:"name"`
	From        string      `json:"from"` // imaps://USER@HOST
	Folders     []string    `json:"folders,omitempty"`
	DeleteAfter string      `json:"delete_after,omitempty"` // such as "30d"; empty for never
	Every       string      `json:"every,omitempty"`        // such as "1d"; empty: only by hand
	OwnCA       bool        `json:"own_ca,omitempty"`       // it has certificates of authorities of its own
	Who         string      `json:"who"`
	Made        time.Time   `json:"made"`
	Last        *source.Run `json:"last,omitempty"`
	Failures    int         `json:"failures,omitempty"` // runs in a row that did not go through
	Next        *time.Time  `json:"next,omitempty"`     // when it runs by itself
	Running     *Progress   `json:"running,omitempty"`
	Replaced    bool        `json:"replaced,omitempty"` // in the answer to the act that added it: in the place of one of that name
	Removed     bool        `json:"removed,omitempty"`  // in the answer to the act that removed it
}

// HideInner takes out the words that only an operator is to see: the last run then says why it ended early as the owner is told, and what was not taken.
func (p *Pull) HideInner() {
	if p.Last == nil {
		return
	}
	shown := *p.Last
	shown.Notes = nil
	if shown.Error != "" {
		shown.Error = notice.PullCause(shown.Cause).In(policy.English)
	}
	p.Last = &shown
}

// Progress is how far a run has come.
type Progress struct {
	Since    time.Time `json:"since"`
	Folder   string    `json:"folder,omitempty"` // of the source
	Done     int       `json:"done"`             // messages dealt with
	Messages int       `json:"messages"`         // in the folders so far
}

// New asks for a profile. Others script against its names.
type New struct {
	Name        string `json:"name"`
	From        string `json:"from"`                   // imaps://USER@HOST
	Folders     string `json:"folders,omitempty"`      // one a line; empty for all
	DeleteAfter string `json:"delete_after,omitempty"` // days, as "30d", or "0": at once; empty for never
	Every       string `json:"every,omitempty"`        // as "1d" or "6h"; empty: only by hand
	CA          string `json:"ca,omitempty"`           // certificates of authorities, PEM, that are believed instead of the system's
	Password    string `json:"password"`
}

// Once asks for one import. Others script against its names.
type Once struct {
	From        string `json:"from"`
	Folders     string `json:"folders,omitempty"`
	DeleteAfter string `json:"delete_after,omitempty"`
	DryRun      bool   `json:"dry_run,omitempty"`
	Plaintext   bool   `json:"plaintext,omitempty"` // of the operator: the password may go over an open line
	CA          string `json:"ca,omitempty"`
	Password    string `json:"password"`
}

// Found is what a test of a profile finds: a folder of the account. Others script against its names.
type Found struct {
	Folder   string `json:"folder"` // as people see it
	Messages int    `json:"messages"`
	Taken    bool   `json:"taken"`            // the profile imports it
	Detail   string `json:"detail,omitempty"` // why it does not open
}

// atOnce is how many imports are under way at a time: the hook comes first.
const atOnce = 2

// Service imports mail by request, and by profile when one is due. Its methods may be called concurrently; Serve has one caller.
type Service struct {
	log     *slog.Logger
	archive atomic.Pointer[archive.Archive]
	private atomic.Bool
	slots   chan struct{} // has room for atOnce
	wake    chan struct{} // has room for one: a profile is to run soon

	succeeded, failed, taken, waits *metrics.Counter
	failing                         *metrics.Gauge

	mu      sync.Mutex
	running map[string]*Progress // by archive and account; guarded by mu
	soon    map[string]bool      // by archive and profile: it is to run now; guarded by mu
	resting map[string]time.Time // by host: until when no profile runs by itself, because the server said that it is busy; guarded by mu
}

// NewService returns a Service. Call Configure before anything else.
func NewService(log *slog.Logger, m *metrics.Registry) *Service {
	if m == nil {
		m = new(metrics.Registry)
	}
	const runs, about = "copialettere_pull_runs_total", "Runs of profiles that import mail from other servers, by outcome."
	return &Service{
		log: log, slots: make(chan struct{}, atOnce), wake: make(chan struct{}, 1), running: make(map[string]*Progress), soon: make(map[string]bool),
		resting:   make(map[string]time.Time),
		succeeded: m.Counter(runs, about, "outcome", "done"), failed: m.Counter(runs, about, "outcome", "failed"),
		taken:   m.Counter("copialettere_pull_messages_total", "Messages that were imported from other servers."),
		failing: m.Gauge("copialettere_pull_failing", "Profiles that import mail from other servers by themselves, and did not get through several times in a row."),
		waits:   m.Counter("copialettere_pull_waits_total", "How often an import waited because the other server asked for it."),
	}
}

// Configure puts in force on whose archives it works, and whether everybody may name servers that have no address of the Internet.
func (s *Service) Configure(a *archive.Archive, allowPrivate bool) {
	s.archive.Store(a)
	s.private.Store(allowPrivate)
}

// reach returns where somebody may connect to.
func (s *Service) reach(private bool, ca string) (Reach, error) {
	r := Reach{Public: !private && !s.private.Load()}
	if ca != "" {
		r.Roots = x509.NewCertPool()
		if !r.Roots.AppendCertsFromPEM([]byte(ca)) {
			return r, fmt.Errorf("%w: there is no certificate in the file of authorities: want PEM", archive.ErrRequest)
		}
	}
	return r, nil
}

// List returns the profiles of a mailbox. Whoever calls it answers for the right to look.
func (s *Service) List(ctx context.Context, address policy.Address) ([]Pull, error) {
	list, archive, err := s.archive.Load().Pulls(ctx, address)
	if err != nil {
		return nil, err
	}
	views := make([]Pull, len(list))
	for i := range list {
		views[i] = s.view(address, archive, &list[i])
	}
	return views, nil
}

func (s *Service) view(address policy.Address, archive string, p *source.Profile) Pull {
	v := Pull{
		Mailbox: address.String(), Name: p.Name, From: p.Account, Folders: p.Folders, OwnCA: p.CA != "", Who: p.Role + " " + p.Who, Made: p.Made,
		Last: p.Last, Failures: p.Failures,
	}
	if p.DeleteAfter != nil {
		v.DeleteAfter = strconv.Itoa(*p.DeleteAfter) + "d"
	}
	if p.Every > 0 {
		v.Every = everyText(p.Every)
		next := next(p)
		v.Next = &next
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[archive+"\x00"+p.Account]; r != nil {
		now := *r
		v.Running = &now
	} else if s.soon[archive+"\x00"+p.Name] {
		v.Running = &Progress{}
	}
	return v
}

// Add keeps a profile, or replaces one, as archive.AddPull does.
func (s *Service) Add(ctx context.Context, who policy.Actor, address policy.Address, n New) (Pull, error) {
	a := s.archive.Load()
	if _, err := a.Import(ctx, who, address, archive.ImportOptions{}); err != nil {
		return Pull{}, err
	}
	account, err := ParseAccount(n.From)
	if err != nil {
		return Pull{}, err
	}
	if _, err := s.reach(true, n.CA); err != nil {
		return Pull{}, err
	}
	p := source.Profile{
		Name: strings.TrimSpace(n.Name), Account: account.String(), Folders: linesOf(n.Folders), CA: n.CA, Private: who.Role == policy.RoleOperator,
	}
	if p.DeleteAfter, err = ParseDays(n.DeleteAfter); err != nil {
		return Pull{}, err
	}
	if p.Every, err = parseEvery(n.Every); err != nil {
		return Pull{}, err
	}
	p, replaced, err := a.AddPull(ctx, who, address, p, n.Password)
	if err != nil {
		return Pull{}, err
	}
	s.wakeUp()
	v := s.view(address, "", &p)
	v.Replaced = replaced
	return v, nil
}

// Remove removes a profile, as archive.RemovePull does.
func (s *Service) Remove(ctx context.Context, who policy.Actor, address policy.Address, name string) (Pull, error) {
	p, err := s.archive.Load().RemovePull(ctx, who, address, name)
	if err != nil {
		return Pull{}, err
	}
	v := s.view(address, "", &p)
	v.Removed, v.Next = true, nil
	return v, nil
}

// open returns a profile with its password for somebody who may import, and the Importing.
func (s *Service) open(ctx context.Context, who policy.Actor, address policy.Address, name string) (i *archive.Importing, of string, p source.Profile, password string, err error) {
	a := s.archive.Load()
	if a.Sources() == nil {
		return nil, "", p, "", errors.New("no import from other servers is set up here")
	}
	if i, err = a.Import(ctx, who, address, archive.ImportOptions{}); err != nil {
		return nil, "", p, "", err
	}
	m, err := i.Mailbox(ctx)
	if err == nil {
		p, password, err = a.Sources().Password(ctx, m.Archive, name)
	}
	if err != nil {
		err = fmt.Errorf("profile %q of %s: %w", name, address, err)
	}
	return i, m.Archive, p, password, err
}

// Test signs in by a profile and returns the folders of its account, opening each. Nothing is imported. It needs what Import of an archive needs.
func (s *Service) Test(ctx context.Context, who policy.Actor, address policy.Address, name string) ([]Found, error) {
	_, _, p, password, err := s.open(ctx, who, address, name)
	if err != nil {
		return nil, err
	}
	account, reach, err := s.reachOf(&p)
	if err != nil {
		return nil, err
	}
	if err := s.turn(ctx); err != nil {
		return nil, err
	}
	defer func() { <-s.slots }()
	list, err := test(ctx, account, password, reach, p.Folders)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrAccount, err)
	}
	return list, err
}

// test signs in, and opens each folder.
func test(ctx context.Context, account Account, password string, reach Reach, folders []string) ([]Found, error) {
	p := &puller{o: Options{Account: account, Password: password, Reach: reach, Folders: folders}, impatient: true}
	if err := p.sign(ctx); err != nil {
		return nil, err
	}
	defer func() { p.end(ctx) }()
	all, err := p.c.folders()
	if err != nil {
		return nil, err
	}
	wanted, err := p.wanted(all)
	if err != nil {
		return nil, err
	}
	var list []Found
	for _, f := range all {
		if f.noSelect {
			continue
		}
		one := Found{Folder: f.name, Taken: slices.Contains(wanted, f)}
		var refused *statusError
		switch _, err := p.c.open(f.raw, false); {
		case errors.As(err, &refused):
			one.Detail = err.Error()
		case err != nil:
			return list, err
		default:
			one.Messages = int(p.c.exists)
		}
		list = append(list, one)
	}
	return list, nil
}

// reachOf returns the account of a profile, and where it may connect to.
func (s *Service) reachOf(p *source.Profile) (Account, Reach, error) {
	account, err := ParseAccount(p.Account)
	if err != nil {
		return account, Reach{}, err
	}
	reach, err := s.reach(p.Private, p.CA)
	return account, reach, err
}

// turn waits for one of the slots.
func (s *Service) turn(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Import imports once, as somebody asks for it. told is as in Options. It needs what Import of an archive needs.
func (s *Service) Import(ctx context.Context, who policy.Actor, address policy.Address, o Once, told func(Result) error) (Summary, error) {
	i, err := s.archive.Load().Import(ctx, who, address, archive.ImportOptions{From: o.From, DryRun: o.DryRun})
	if err != nil {
		return Summary{}, err
	}
	account, err := ParseAccount(o.From)
	if err != nil {
		return Summary{}, err
	}
	days, err := ParseDays(o.DeleteAfter)
	if err != nil {
		return Summary{}, err
	}
	reach, err := s.reach(who.Role == policy.RoleOperator, o.CA)
	if err != nil {
		return Summary{}, err
	}
	if reach.Open = o.Plaintext; o.Plaintext && who.Role != policy.RoleOperator {
		return Summary{}, fmt.Errorf("%w: only an operator has a password sent over an open line", archive.ErrRequest)
	}
	if err := s.turn(ctx); err != nil {
		return Summary{}, err
	}
	defer func() { <-s.slots }()
	return s.run(ctx, address, i, Options{
		Account: account, Password: o.Password, Reach: reach, Folders: linesOf(o.Folders), DeleteAfter: days, DryRun: o.DryRun, Told: told,
	})
}

// Run runs a profile now, and puts on record how it went. It needs what Import of an archive needs.
func (s *Service) Run(ctx context.Context, who policy.Actor, address policy.Address, name string, told func(Result) error) (Summary, error) {
	if err := s.turn(ctx); err != nil {
		return Summary{}, err
	}
	defer func() { <-s.slots }()
	sum, _, err := s.runProfile(ctx, who, address, name, told)
	return sum, err
}

// runProfile is Run for who has a slot. noted says that it is on record how it went.
func (s *Service) runProfile(
	ctx context.Context, who policy.Actor, address policy.Address, name string, told func(Result) error,
) (sum Summary, noted bool, err error) {
	_, of, p, password, err := s.open(ctx, who, address, name)
	if err != nil {
		return sum, false, err
	}
	i, err := s.archive.Load().Import(ctx, who, address, archive.ImportOptions{From: p.Account})
	if err != nil {
		return sum, false, err
	}
	account, reach, err := s.reachOf(&p)
	if err != nil {
		return sum, false, err
	}
	ran := source.Run{Start: time.Now().UTC().Truncate(time.Second)}
	sum, err = s.run(ctx, address, i, Options{
		Account: account, Password: password, Reach: reach, Folders: p.Folders, DeleteAfter: p.DeleteAfter,
		Told: func(r Result) error {
			if r.Failed() && len(ran.Notes) < 20 {
				ran.Notes = append(ran.Notes, r.Words())
				ran.Left = append(ran.Left, source.Left{Folder: r.SourceFolder, UID: r.SourceUID, State: r.State})
			}
			if told != nil {
				return told(r)
			}
			return nil
		},
	})
	if errors.Is(err, ErrRunning) {
		return sum, false, err
	}
	ran.End = time.Now().UTC().Truncate(time.Second)
	ran.Imported, ran.Duplicates, ran.Refused, ran.Deleted, ran.Bytes = sum.Imported, sum.Duplicates, sum.Failed, sum.Deleted, sum.Bytes
	if err != nil {
		ran.Error, ran.Cause = err.Error(), string(CauseOf(err))
	}
	if ctx.Err() == nil || sum.Imported > 0 {
		s.record(context.WithoutCancel(ctx), address, of, name, ran, err)
	}
	return sum, true, err
}

// record puts on record how a run went, and tells the owner where he is to know.
func (s *Service) record(ctx context.Context, address policy.Address, of, name string, ran source.Run, err error) {
	p, noted := s.archive.Load().Sources().Ran(ctx, of, name, ran)
	if noted == nil {
		noted = s.tell(ctx, of, &p, err)
	}
	if noted != nil {
		s.log.Error("the run of a profile is not on record", "mailbox", address.String(), "profile", name, "error", noted)
	}
	values := []any{"mailbox", address.String(), "profile", name, "imported", ran.Imported, "duplicates", ran.Duplicates, "refused", ran.Refused, "deleted_there", ran.Deleted}
	if err != nil {
		s.failed.Inc()
		s.log.Warn("import from another server ended early", append(values, "failures", p.Failures, "error", err)...)
		return
	}
	s.succeeded.Inc()
	s.log.Info("import from another server", values...)
}

// run runs an import that has a slot, unless one from the same account is under way.
func (s *Service) run(ctx context.Context, address policy.Address, i *archive.Importing, o Options) (Summary, error) {
	a := s.archive.Load()
	if a.Sources() == nil {
		return Summary{}, errors.New("no import from other servers is set up here")
	}
	m, err := i.Mailbox(ctx)
	if err != nil {
		return Summary{}, err
	}
	progress, end := s.begin(m.Archive + "\x00" + o.Account.String())
	if progress == nil {
		return Summary{}, fmt.Errorf("%s, %s: %w", address, o.Account, ErrRunning)
	}
	defer end()
	told := o.Told
	o.Mailbox, o.Into, o.Holds, o.MaxMessage, o.Book, o.Archive = address.String(), i, i.Holds, a.MaxMessage(), a.Sources(), m.Archive
	o.Told = func(r Result) error {
		s.mu.Lock()
		switch {
		case r.State == StateFolder:
			progress.Folder, progress.Messages = r.SourceFolder, progress.Messages+r.Messages
		case r.State == StateWaiting:
			s.waits.Inc()
		case r.State != StateDeleted && r.State != StateNotDeleted && r.State != StateNotOpened:
			progress.Done++
		}
		s.mu.Unlock()
		if r.State == archive.KeptImported {
			s.taken.Inc()
		}
		if told == nil {
			return nil
		}
		return told(r)
	}
	sum, err := Run(ctx, o)
	if errors.Is(err, ErrBusy) {
		s.rest(o.Account.Host)
	}
	return sum, err
}

// begin notes that an import is under way; nil where one is.
func (s *Service) begin(key string) (p *Progress, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[key] != nil {
		return nil, nil
	}
	p = &Progress{Since: time.Now().UTC().Truncate(time.Second)}
	s.running[key] = p
	return p, func() {
		s.mu.Lock()
		delete(s.running, key)
		s.mu.Unlock()
	}
}

// linesOf returns the lines of a text that are not empty.
func linesOf(text string) (list []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// ParseDays reads after how many days something is deleted: "30d", or "0"; empty is never, nil.
func ParseDays(text string) (*int, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, "d"))
	if err != nil || n < 0 || n > source.MaxDeleteAfter || n > 0 && !strings.HasSuffix(text, "d") {
		return nil, fmt.Errorf(`%w: delete after %.20q: want days, such as "30d", or "0" for at once`, archive.ErrRequest, text)
	}
	return &n, nil
}

// parseEvery reads how often a profile runs: "1d", "6h"; empty is only by hand.
func parseEvery(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	unit := time.Hour
	digits, ok := strings.CutSuffix(text, "h")
	if !ok {
		unit = 24 * time.Hour
		digits, ok = strings.CutSuffix(text, "d")
	}
	n, err := strconv.Atoi(digits)
	if err != nil || !ok || n < 1 || n > 10_000 {
		return 0, fmt.Errorf(`%w: every %.20q: want hours or days, such as "6h" or "1d"`, archive.ErrRequest, text)
	}
	return time.Duration(n) * unit, nil
}

func everyText(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	return strconv.Itoa(int(d/time.Hour)) + "h"
}
