package preserve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"copialettere/policy/preservation"
)

const (
	settled    = time.Minute // for which a receipt must not have changed: the service may still be writing it
	countEvery = time.Hour   // how often packages without a receipt are looked at
)

// receipts notes the receipts that have come.
func (s *Service) receipts(ctx context.Context, c Config, now time.Time) {
	if c.Settings.Receipts == "" {
		return
	}
	const later = "receipts of legal preservation not read, will be tried again"
	list, err := os.ReadDir(c.Settings.Receipts)
	if err != nil {
		if now.Sub(s.unread).Abs() >= retryAfter {
			s.unread = now
			s.fail(ctx, later, fmt.Errorf("[preservation] receipts: %w", err))
		}
		return
	}
	seen, refused := make(map[string]time.Time, len(list)), make(map[string]time.Time)
	for _, entry := range list {
		name := entry.Name()
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || unfinished(name) || now.Sub(info.ModTime()) < settled {
			continue // gone again, or not whole yet
		}
		if at, ok := s.seen[name]; !ok || !at.Equal(info.ModTime()) {
			if at, ok := s.refused[name]; ok && now.Sub(at).Abs() < retryAfter {
				refused[name] = at
				continue
			}
			if err := s.receipt(ctx, c, name, info, now); err != nil {
				s.fail(ctx, later, err, "file", name)
				refused[name] = now
				continue
			}
		}
		seen[name] = info.ModTime()
	}
	s.seen, s.refused = seen, refused
}

// unfinished reports whether a name is one of those that programs give to files while they write them.
func unfinished(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{".part", ".tmp", ".new", ".filepart"}, filepath.Ext(name))
}

// receipt notes a file, if it is the receipt of a package.
func (s *Service) receipt(ctx context.Context, c Config, name string, info os.FileInfo, now time.Time) error {
	at, err := s.options.Ledger.OfReceipt(ctx, name)
	if err != nil || at == (preservation.Place{}) {
		return err
	}
	digest, size, err := digestOf(ctx, filepath.Join(c.Settings.Receipts, name))
	if err != nil {
		return err
	}
	after, err := os.Lstat(filepath.Join(c.Settings.Receipts, name))
	if err != nil || size != info.Size() || !after.ModTime().Equal(info.ModTime()) {
		return errors.Join(errors.New("it changes while it is read"), err)
	}
	r := preservation.Receipt{Name: name, Time: now, SHA256: digest, Size: size}
	noted := ""
	err = c.Archive.PackageChanged(ctx, at, func(p *preservation.Package) {
		noted = ""
		if len(p.Receipts) < preservation.MaxReceipts && !slices.ContainsFunc(p.Receipts, func(other preservation.Receipt) bool { return other.Name == name }) {
			p.Receipts, noted = append(p.Receipts, r), p.Name
		}
	})
	if err == nil && noted != "" {
		s.got.Inc()
		s.counted = time.Time{}
		s.log.Info("receipt of legal preservation", "package", noted, "receipt", name, "sha256", r.SHA256, "bytes", size)
	}
	return err
}

// digestOf returns the SHA-256 of a file and its size. Others may put what they like in its place meanwhile: it follows no link, and waits for no pipe.
func digestOf(ctx context.Context, path string) (digest string, size int64, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", 0, errors.Join(fmt.Errorf("%s is no regular file", path), err)
	}
	sum := sha256.New()
	for {
		n, err := io.CopyN(sum, f, 8<<20)
		if size += n; err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), size, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return "", 0, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// missing counts the packages whose receipt has not come in time, and tells the operator once of each.
func (s *Service) missing(ctx context.Context, c Config, now time.Time) {
	if c.Settings.Receipts == "" || now.Sub(s.counted).Abs() < countEvery {
		return
	}
	s.counted = now
	late, untold, err := s.late(ctx, c, now)
	if err != nil {
		s.fail(ctx, "packages without a receipt not counted", err)
		return
	}
	s.overdue.Set(int64(late))
	if len(untold) == 0 {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "The service for legal preservation has sent no receipt of %d packages:\n", len(untold))
	for i, one := range untold {
		if i == mostTold {
			fmt.Fprintf(&text, "- and %d more\n", len(untold)-i)
			break
		}
		fmt.Fprintf(&text, "- %s, made %s\n", one.name, one.made.Format(time.DateOnly))
	}
	text.WriteString("All of them: copialettere preservation\nAsk the service for them. A receipt counts when it is in the folder of [preservation] receipts, named as the package.")
	s.log.Warn("no receipt of legal preservation", "packages", len(untold), "first", untold[0].name, "overdue", late)
	s.options.Tell(text.String())
	for _, one := range untold {
		if err := c.Archive.PackageChanged(ctx, one.at, func(p *preservation.Package) { p.Missed = &now }); err != nil {
			s.fail(ctx, "not noted that the operator was told of a missing receipt", err, "package", one.name)
		}
	}
}

// mostTold is how many packages a notice names.
const mostTold = 100

// lacking is a package without a receipt.
type lacking struct {
	at   preservation.Place
	name string
	made time.Time
}

// late returns how many packages lack their receipt for too long, and those of them that the operator was not told of.
func (s *Service) late(ctx context.Context, c Config, now time.Time) (count int, untold []lacking, err error) {
	for at, err := range s.options.Ledger.Waiting(ctx) {
		if err != nil {
			return count, untold, err
		}
		p, err := s.options.Ledger.Get(ctx, at.Archive, at.Day)
		if err != nil {
			return count, untold, err
		}
		if p == nil || p.State(now, c.Settings.Overdue) != preservation.StateOverdue {
			continue
		}
		if count++; p.Missed == nil {
			untold = append(untold, lacking{at, p.Name, p.Made})
		}
	}
	return count, untold, nil
}
