package pull

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

var operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}

// serviceRig is a Service over archives, and a scripted server.
type serviceRig struct {
	*script
	engine  *kvtest.Failing
	journal *journal.Journal
	policy  *policy.Policy
	archive *archive.Archive
	service *Service
	metrics *metrics.Registry
	notices *notice.Pump
	from    string

	mailed []string // the notices that were sent
}

func newServiceRig(t *testing.T, mails ...mail) *serviceRig {
	t.Helper()
	r := &serviceRig{script: &script{t: t, capability: "IMAP4rev1 UIDPLUS", uidValidity: 7, uidNext: 100, mails: mails}, metrics: new(metrics.Registry)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	inner, err := level.Open(t.TempDir(), level.Options{Logger: log})
	r.check(err)
	r.engine = kvtest.NewFailing(inner)
	r.journal, err = journal.Open(r.engine, journal.Options{Logger: log})
	r.check(err)
	t.Cleanup(func() { r.check(errors.Join(r.journal.Close(), inner.Close())) })
	settings, err := r.engine.Settings(t.Context())
	r.check(err)
	r.policy, err = policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	r.check(err)
	send := func(_ context.Context, _, _ string, message []byte) error {
		r.mailed = append(r.mailed, string(message))
		return nil
	}
	r.notices = notice.NewPump(notice.New(settings, notice.Options{Policy: r.policy, From: "archive@alpha.test", MaxPerDay: 9}), send, log)
	t.Cleanup(r.notices.Close)
	r.archive = archive.New(archive.Options{Journal: r.journal, Policy: r.policy, Notices: r.notices, Sources: source.New(settings, source.Sealer{Path: filepath.Join(t.TempDir(), "key")})})
	r.service = NewService(log, r.metrics)
	r.service.Configure(r.archive, false)
	r.from = r.listen().String()
	return r
}

func (r *serviceRig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// enable makes an archive, and returns its address.
func (r *serviceRig) enable(local string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseAddress(local + "@alpha.test")
	r.check(err)
	_, err = r.archive.Enable(r.t.Context(), operator, a)
	r.check(err)
	return a
}

// notify gives an archive an address for notices.
func (r *serviceRig) notify(mailbox policy.Address) {
	r.t.Helper()
	for key, value := range map[string]string{"language": "en", "notify": "anna@ext.test"} {
		_, err := r.archive.Set(r.t.Context(), operator, mailbox, []policy.Assignment{{Key: key, Value: value}})
		r.check(err)
	}
	outside, err := policy.ParseAddress("anna@ext.test")
	r.check(err)
	r.check(r.policy.ConfirmNotify(r.t.Context(), mailbox, operator, outside))
}

// has returns how often an archive has each message, by its SHA-256 in hexadecimal.
func (r *serviceRig) has(mailbox policy.Address) map[string]int {
	r.t.Helper()
	all := make(map[string]int)
	stats, err := r.journal.Stats(r.t.Context(), mailbox.String())
	r.check(err)
	for _, f := range stats {
		for one, err := range r.journal.Fingerprints(r.t.Context(), f.Mailbox, f.Month, f.Folder, 1, f.NextUID) {
			r.check(err)
			all[hex.EncodeToString(one.SHA256[:])]++
		}
	}
	return all
}

// serving lets the server answer while f runs.
func (r *serviceRig) serving(f func()) {
	r.script.mu.Unlock()
	defer r.script.mu.Lock()
	f()
}

// TestWritesFail imports an account and deletes it at the source, and has each write fail in turn, in all ways. The same once more completes it: every
// message is there once, none was deleted that is not there, and what was told is so.
func TestWritesFail(t *testing.T) {
	t.Parallel()
	mails := []mail{one(1), one(2), {uid: 3, text: "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcde\n", alone/16)}, one(4)}
	r := newServiceRig(t)
	r.folders = []string{`() "/" INBOX`, `() "/" Altro`} // with the same messages, which are duplicates
	for _, failure := range kvtest.Failures() {
		met := 0
		for n := 1; ; n++ {
			r.mails = slices.Clone(mails)
			mailbox := r.enable(fmt.Sprintf("%d.%s", n, strings.NewReplacer(" ", "-", ",", "").Replace(string(failure))))
			request := Once{From: r.from, Password: "x", DeleteAfter: "0"}
			var once sync.Mutex
			told := make(map[string]int)
			run := func() (sum Summary, err error) {
				r.serving(func() {
					sum, err = r.service.Import(t.Context(), operator, mailbox, request, func(one Result) error {
						once.Lock()
						defer once.Unlock()
						told[one.State]++
						if one.State == archive.KeptImported && told[one.SHA256] > 0 {
							t.Errorf("%s %d: %s was told twice to be imported", failure, n, one.SHA256)
						}
						if one.State == archive.KeptImported {
							told[one.SHA256]++
						}
						return nil
					})
				})
				return sum, err
			}
			r.engine.Fail(n, failure)
			sum, err := run()
			if !r.engine.Heal() {
				r.check(err)
				break
			}
			met++
			if err == nil && sum.Failed == 0 && failure == kvtest.DiskFull {
				t.Errorf("%s %d: nothing is told: %+v", failure, n, sum)
			}
			if errors.Is(err, ErrAccount) {
				t.Errorf("%s %d: the server is blamed: %v", failure, n, err)
			}
			has := r.has(mailbox)
			for digest, times := range told {
				if len(digest) == 64 && has[digest] != times {
					t.Errorf("%s %d: told to be imported, and there %d times", failure, n, has[digest])
				}
			}
			if sum, err = run(); err != nil || sum.Failed > 0 {
				t.Errorf("%s %d: once more: %+v, %v", failure, n, sum, err)
			}
			if len(r.mails) > 0 {
				t.Errorf("%s %d: %d messages are left at the source", failure, n, len(r.mails))
			}
			has = r.has(mailbox)
			for _, m := range mails {
				if times := has[digestOf(crlfOf(m.text))]; times != 1 {
					t.Errorf("%s %d: message %d is there %d times", failure, n, m.uid, times)
				}
			}
			if len(has) != len(mails) {
				t.Errorf("%s %d: %d messages", failure, n, len(has))
			}
		}
		if met < 10 {
			t.Errorf("%s: only %d writes", failure, met)
		}
		t.Logf("%s: %d writes", failure, met)
	}
	report, err := r.archive.Verify(t.Context(), nil)
	if r.check(err); report.Faults > 0 {
		t.Errorf("verify: %v", report.Details)
	}
}

// crlfOf returns a text as the journal keeps it.
func crlfOf(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
}

// TestTold tells the owner once that a profile fails, when it has several times in a row, and once that it works again.
func TestTold(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, one(1))
	mailbox := r.enable("anna")
	ctx := t.Context()
	r.notify(mailbox)
	for _, n := range []New{{Name: "hand", From: r.from, Password: "x"}, {Name: "own", From: r.from, Password: "x", Every: "1h"}} {
		_, err := r.service.Add(ctx, operator, mailbox, n)
		r.check(err)
	}
	run := func(name, refused string) {
		t.Helper()
		r.refuse = nil
		if refused != "" {
			r.refuse = map[string]string{"LOGIN": refused}
		}
		r.serving(func() {
			if _, err := r.service.Run(ctx, operator, mailbox, name, nil); (err != nil) != (refused != "") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	step := func(name string, want ...string) {
		t.Helper()
		r.mailed = nil
		r.check(r.notices.Deliver(ctx, time.Now()))
		if len(r.mailed) != len(want) {
			t.Fatalf("%s: %d notices, want %d: %q", name, len(r.mailed), len(want), r.mailed)
		}
		for i, text := range want {
			if got := strings.ReplaceAll(r.mailed[i], "=\r\n", ""); !strings.Contains(got, text) || !strings.Contains(got, "own, imap://anna@127.0.0.1") {
				t.Errorf("%s: %s\nwant %s", name, got, text)
			}
		}
	}
	for range tellAfter + 1 {
		run("hand", "NO wrong")
	}
	step("one that runs by hand")
	for range tellAfter - 1 {
		run("own", "NO wrong")
	}
	step("not yet")
	run("own", "NO wrong")
	step("fails", "the server does not accept the user name or the password")
	run("own", "NO wrong")
	step("still fails")
	r.serving(func() {
		var running sync.WaitGroup
		r.service.look(ctx, time.Now(), &running)
		running.Wait()
	})
	if n := r.service.failing.Value(); n != 1 {
		t.Errorf("%d profiles fail by the metrics, want 1", n)
	}
	run("own", "")
	step("works again", "Mail is imported again into the archive of anna@alpha.test")
	run("own", "")
	step("still works")
	time.Sleep(1100 * time.Millisecond) // what fails from now on is told apart by the second
	for range tellAfter {
		run("own", "NO wrong")
	}
	step("fails again", "the server does not accept the user name or the password")
	v, err := r.service.Add(ctx, operator, mailbox, New{Name: "own", From: r.from, Password: "y", Every: "1h"})
	if r.check(err); !v.Replaced || v.Failures != 0 {
		t.Errorf("replaced: %+v", v)
	}
	run("own", "")
	step("works with the new password", "Mail is imported again")
	// A person's pause is no fault.
	_, err = r.archive.Pause(ctx, operator, mailbox)
	r.check(err)
	list, err := r.service.List(ctx, mailbox)
	r.check(err)
	for range tellAfter {
		for _, p := range list {
			r.service.runOwned(ctx, source.Owned{Archive: mailbox.String(), Profile: source.Profile{Name: p.Name, Account: p.From, Role: string(operator.Role), Who: operator.Name}})
		}
	}
	step("paused")
}

// TestTellFails has each write fail by which a failing profile is put on record and told of, in all ways: the owner is told once all the same.
func TestTellFails(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t)
	ctx := t.Context()
	r.refuse = map[string]string{"LOGIN": "NO wrong"}
	for _, failure := range kvtest.Failures() {
		met := true
		for n := 1; met; n++ {
			mailbox := r.enable(fmt.Sprintf("%d.%s", n, strings.NewReplacer(" ", "-", ",", "").Replace(string(failure))))
			r.notify(mailbox)
			_, err := r.service.Add(ctx, operator, mailbox, New{Name: "own", From: r.from, Password: "x", Every: "1h"})
			r.check(err)
			for run := range tellAfter + 2 {
				if run == tellAfter-1 {
					r.engine.Fail(n, failure)
				}
				r.serving(func() {
					if _, err := r.service.Run(ctx, operator, mailbox, "own", nil); !errors.Is(err, ErrLogin) {
						t.Errorf("%s %d: %v", failure, n, err)
					}
				})
				if run == tellAfter-1 {
					met = r.engine.Heal()
				}
			}
			r.mailed = nil
			if r.check(r.notices.Deliver(ctx, time.Now())); len(r.mailed) != 1 {
				t.Errorf("%s %d: %d notices: %q", failure, n, len(r.mailed), r.mailed)
			}
			list, err := r.service.List(ctx, mailbox)
			if r.check(err); list[0].Last == nil || list[0].Failures < tellAfter {
				t.Errorf("%s %d: on record: %+v", failure, n, list[0])
			}
			if !met && n < 4 {
				t.Errorf("%s: only %d writes", failure, n-1)
			}
		}
	}
}

// TestCauses says why a run does not go through.
func TestCauses(t *testing.T) {
	for want, err := range map[notice.PullCause]error{
		notice.PullLogin: ErrLogin, notice.PullBusy: fmt.Errorf("%w: %w", ErrAccount, ErrBusy), notice.PullServer: fmt.Errorf("%w: %w", ErrAccount, io.EOF),
		notice.PullFull: ErrFull, notice.PullPassword: source.ErrKey, notice.PullHere: kv.ErrUnavailable,
		notice.PullCertificate: fmt.Errorf("%w: %w", ErrAccount, &tls.CertificateVerificationError{Err: io.EOF}),
		notice.PullUnreachable: fmt.Errorf("%w: %w", ErrAccount, &net.OpError{Op: "dial", Err: io.EOF}),
		notice.PullAddress:     fmt.Errorf("%w: %w", ErrAccount, &net.OpError{Op: "dial", Err: ErrUnreachable}),
		notice.PullFolder:      fmt.Errorf("%w: %w", ErrAccount, ErrNoFolder), notice.PullNotOn: archive.ErrNotOn,
		notice.PullForbidden: policy.ErrForbidden, notice.PullStopped: context.Canceled,
	} {
		if got := CauseOf(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
