package preserve

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"copialettere/journal/durable"
	"copialettere/journal/export"
	"copialettere/journal/export/sincro"
	"copialettere/policy"
	"copialettere/policy/preservation"
)

// maker makes the packages of a mailbox.
type maker struct {
	service *Service
	Config
	agent   *sincro.Agent
	mailbox policy.Mailbox
}

// day hands over one day. That a day has nothing is put on record only with note: the days after it say so too.
func (m *maker) day(ctx context.Context, day string, note bool, now time.Time) error {
	p, err := m.service.options.Ledger.Get(ctx, m.mailbox.Archive, day)
	if err != nil {
		return err
	}
	if p != nil && p.Placed != nil { // a clock was wrong
		return m.Archive.PackagesDone(ctx, m.mailbox.Archive, day, time.Time{})
	}
	if p != nil {
		err = m.resume(ctx, p)
	}
	if p == nil || errors.Is(err, errLost) {
		if p, err = m.make(ctx, day, p, now); err == nil && p != nil {
			err = m.place(p)
		}
	}
	if err != nil || p == nil && !note {
		return err
	}
	if err := m.service.options.Step("note " + day); err != nil {
		return err
	}
	var placed time.Time
	if p != nil {
		placed = now
	}
	if err := m.Archive.PackagesDone(ctx, m.mailbox.Archive, day, placed); err != nil || p == nil {
		return err
	}
	m.service.made.Inc()
	m.service.log.Info("handed to legal preservation", "mailbox", m.mailbox.Address.String(), "package", p.Name, "messages", p.Messages, "bytes", p.Size, "missing", p.Missing)
	return nil
}

// work returns where a package is made.
func (m *maker) work(name string) string { return filepath.Join(m.Settings.Drop, workFolder, name) }

// make makes the package of a day, and puts it on record; nil where the day has none. Where it was lost, it takes the place of that on record.
func (m *maker) make(ctx context.Context, day string, lost *preservation.Package, now time.Time) (*preservation.Package, error) {
	source := &source{m, start(day), start(next(day)), m.Archive.NewPace()}
	if any, err := source.any(ctx); err != nil || !any {
		return nil, err
	}
	var name string
	var err error
	if lost != nil {
		name = lost.Name
	} else if name, err = m.name(ctx, day); err != nil {
		return nil, err
	}
	step := m.service.options.Step
	if err := step("make " + name); err != nil {
		return nil, err
	}
	report, err := m.export(ctx, source, name)
	if err != nil {
		return nil, err
	}
	missing := report.Damaged + uint64(len(report.Unreadable))
	if report.Messages+missing == 0 {
		return nil, os.Remove(m.work(name)) // all were deleted meanwhile
	}
	info, err := os.Stat(m.work(name))
	if err != nil {
		return nil, err
	}
	p := preservation.Package{
		Day: day, Name: name, Messages: report.Messages, Missing: missing, Size: info.Size(), SHA256: report.SHA256, Made: now, Folder: m.Settings.Drop,
	}
	if err := step("record " + name); err != nil {
		return nil, err
	}
	if lost != nil {
		return &p, m.Archive.PackageChanged(ctx, preservation.Place{Archive: m.mailbox.Archive, Day: day}, func(there *preservation.Package) { *there = p })
	}
	was, err := m.Archive.AddPackage(ctx, m.mailbox.Archive, p)
	if was == nil {
		was = &p
	}
	return was, err
}

// export writes the package of a day. Where messages were moved meanwhile, it looks once more where they are.
func (m *maker) export(ctx context.Context, s *source, name string) (*export.Report, error) {
	if err := durable.MakeFolder(filepath.Dir(m.work(name))); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		report, err := export.Run(ctx, export.Options{
			Source: s, Mailbox: m.mailbox.Address.String(), Selection: export.Selection{Since: s.since, Until: s.until}, Form: export.FormZIP, To: m.work(name),
			Sincro: m.agent, Program: m.service.options.Version, Time: s.until, Step: m.service.options.Step,
		})
		if err != nil || report.Gone == 0 {
			return report, err
		}
		if try == 2 {
			return nil, errors.New("messages are being moved all the time")
		}
	}
}

// name returns the name of the package of a day, which no other package has.
func (m *maker) name(ctx context.Context, day string) (string, error) {
	const longest = 200
	base := day + "_" + export.PlainName(m.mailbox.Address.String(), longest)
	if preservation.ReceiptExtension(base) != "" { // mario@alpha.zip: a receipt of it is to be none of mario@alpha
		base += "_1"
	}
	name := base + preservation.Extension
	for n := 2; ; n++ {
		at, err := m.service.options.Ledger.Named(ctx, name)
		if err != nil || at == (preservation.Place{}) {
			return name, err
		}
		name = base + "_" + strconv.Itoa(n) + preservation.Extension
	}
}

// errLost says that a package is on record, and was gone before it was handed over.
var errLost = errors.New("the package was lost before it was handed over")

// resume hands a package over that an earlier try has put on record. The error is errLost if it must be made again.
func (m *maker) resume(ctx context.Context, p *preservation.Package) error {
	err := fs.ErrNotExist
	if p.Folder == "" || p.Folder == m.Settings.Drop { // an earlier version did not note it
		err = m.same(ctx, p)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.renamed(p):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		err = errLost
	case err == nil:
		return m.place(p)
	}
	if errors.Is(err, errLost) {
		m.service.log.Warn("a package for legal preservation was lost before it was handed over, and is made again",
			"mailbox", m.mailbox.Address.String(), "package", p.Name, "folder", p.Folder)
	}
	return err
}

// same returns nil if the package where packages are made is the one that is on record, and errLost if it is another one.
func (m *maker) same(ctx context.Context, p *preservation.Package) error {
	digest, size, err := digestOf(ctx, m.work(p.Name))
	if err == nil && (size != p.Size || digest != p.SHA256) {
		err = errLost
	}
	return err
}

// renamed reports whether a package that is no longer where packages are made was handed over, whether it still lies there or not.
func (m *maker) renamed(p *preservation.Package) bool {
	folder := p.Folder
	if folder == "" {
		folder = m.Settings.Drop
	}
	there := func(path ...string) bool {
		_, err := os.Lstat(filepath.Join(append([]string{folder}, path...)...))
		return err == nil
	}
	return there(p.Name) || there(workFolder) && !there(workFolder, p.Name)
}

// place renames a package that is on record.
func (m *maker) place(p *preservation.Package) error {
	step := m.service.options.Step
	file, err := os.OpenFile(m.work(p.Name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = file.Chmod(0o640)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := step("rename " + p.Name); err != nil {
		return err
	}
	if err := os.Rename(m.work(p.Name), filepath.Join(m.Settings.Drop, p.Name)); err != nil {
		return err
	}
	if err := step("sync " + p.Name); err != nil {
		return err
	}
	return durable.SyncFolder(m.Settings.Drop)
}
