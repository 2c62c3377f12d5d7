package archive

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

// KeyPull is the key under which the log of a mailbox tells of profiles by which mail is imported from elsewhere: before and after have the name and the
// account, and what is deleted there.
const KeyPull = "pull"

// errNoSources says that nothing is kept of sources here.
var errNoSources = errors.New("no import from other servers is set up here")

// Sources returns what is known of the accounts from which mail is imported, nil where nothing is. Whoever asks for it answers for the rights.
func (a *Archive) Sources() *source.Store { return a.options.Sources }

// MaxMessage returns the largest message that is imported, in bytes.
func (a *Archive) MaxMessage() int64 { return a.maxMessage() }

// Owner returns the mailbox whose archive has a name (policy.Mailbox.Archive).
func (a *Archive) Owner(ctx context.Context, archive string) (policy.Mailbox, error) {
	return a.policy.MailboxOf(ctx, archive)
}

// Pulls returns the profiles by which mail is imported into a mailbox, by name, and the name of its archive.
func (a *Archive) Pulls(ctx context.Context, address policy.Address) (list []source.Profile, archive string, err error) {
	if a.options.Sources == nil {
		return nil, "", errNoSources
	}
	m, err := a.there(ctx, address)
	if err == nil {
		list, err = a.options.Sources.Profiles(ctx, m.Archive)
	}
	if err != nil {
		return nil, "", fmt.Errorf("profiles of %s: %w", address, err)
	}
	return list, m.Archive, nil
}

// AddPull keeps a profile by which mail is imported, with its password, which nobody is shown again. One of the same name and account is replaced: see
// source.Store.Add. It needs what Import needs; the error may also wrap source.ErrProfile or source.ErrKey. Role, Who and Made are filled in.
func (a *Archive) AddPull(
	ctx context.Context, who policy.Actor, address policy.Address, p source.Profile, password string,
) (added source.Profile, replaced bool, err error) {
	if a.options.Sources == nil {
		return p, false, errNoSources
	}
	importing, err := a.Import(ctx, who, address, ImportOptions{})
	if err != nil {
		return p, false, err
	}
	m, err := importing.may(ctx)
	if err != nil {
		return p, false, err
	}
	list, err := a.options.Sources.Profiles(ctx, m.Archive)
	if err != nil {
		return p, false, err
	}
	if len(list) >= source.MaxProfiles && !slices.ContainsFunc(list, func(one source.Profile) bool { return one.Name == p.Name }) {
		return p, false, fmt.Errorf("%w: %s has %d, and no more are kept", source.ErrProfile, address, len(list))
	}
	p.Role, p.Who, p.Made = string(who.Role), who.Name, time.Now().UTC().Truncate(time.Second)
	sealed, err := a.options.Sources.Seal(m.Archive, p, password)
	if err != nil {
		return p, false, err
	}
	err = a.policy.Note(ctx, address, who, KeyPull, func(tx kv.Tx, archive string, _ time.Time) (before, after string, err error) {
		if archive != m.Archive {
			return "", "", fmt.Errorf("%s is another archive: %w", address, ErrNotOn)
		}
		was, err := a.options.Sources.Add(tx, archive, sealed)
		if replaced = was != nil; replaced {
			before = pullText(*was)
		}
		return before, pullText(p), err
	})
	if err != nil {
		return p, false, fmt.Errorf("profile %q of %s: %w", p.Name, address, err)
	}
	return p, replaced, nil
}

// TellPull tells the owner that a profile fails, or that it works again, durably.
func (a *Archive) TellPull(ctx context.Context, archive string, kind notice.Kind, p *source.Profile, cause notice.PullCause) error {
	return a.options.Notices.Queue(ctx, notice.OfPull(archive, kind, p.Name+", "+p.Account, cause, p.Failing, time.Now()))
}

// RemovePull removes a profile. It needs RightRevoke, whatever the settings; the error may also wrap source.ErrNoProfile.
func (a *Archive) RemovePull(ctx context.Context, who policy.Actor, address policy.Address, name string) (p source.Profile, err error) {
	if a.options.Sources == nil {
		return p, errNoSources
	}
	if err := a.May(ctx, who, RightRevoke, address); err != nil {
		return p, err
	}
	err = a.policy.Note(ctx, address, who, KeyPull, func(tx kv.Tx, archive string, _ time.Time) (before, after string, err error) {
		p, err = a.options.Sources.Remove(tx, archive, name)
		return pullText(p), "", err
	})
	if err != nil {
		return p, fmt.Errorf("profile %q of %s: %w", name, address, err)
	}
	return p, nil
}

// pullText is what the log of a mailbox has of a profile.
func pullText(p source.Profile) string {
	text := p.Name + ", " + p.Account
	if len(p.Folders) > 0 {
		text += ", " + strings.Join(p.Folders, ", ")
	}
	if p.DeleteAfter != nil {
		text += fmt.Sprintf(", delete-after=%dd", *p.DeleteAfter)
	}
	return plainText(text, journal.MaxImportSource)
}

// ForgetSources removes the profiles of an archive, by its name, that is being erased, and what is known of their accounts.
func (a *Archive) ForgetSources(ctx context.Context, archive string) error {
	if a.options.Sources == nil {
		return nil
	}
	return a.options.Sources.Forget(ctx, archive)
}

// Mailbox returns the mailbox if messages may be imported into it now, with the errors of Import.
func (i *Importing) Mailbox(ctx context.Context) (policy.Mailbox, error) { return i.may(ctx) }

// Holds reports whether the archive has a message now, at whatever place, and its bytes are those that the reader gives: read from the journal, and
// compared byte for byte, with CRLF for bare LF as the journal keeps messages. What was deleted by hand it does not have.
func (i *Importing) Holds(ctx context.Context, m source.Message, message io.Reader) (bool, error) {
	now, err := i.may(ctx)
	if err != nil {
		return false, err
	}
	body, err := i.bodyOf(ctx, now.Archive, m)
	if err != nil || body == nil {
		return false, err
	}
	same := &comparing{body: body, same: true}
	if _, err := io.Copy(&lineEnds{to: same}, message); err != nil {
		return false, err
	}
	if same.err != nil {
		return false, fmt.Errorf("read what %s has of the message: %w", i.mailbox, same.err)
	}
	return same.same && same.at == body.Size(), nil
}

// bodyOf returns the bytes of a message of the archive; nil where it is not there, or its bytes cannot be read.
func (i *Importing) bodyOf(ctx context.Context, archive string, m source.Message) (*journal.Body, error) {
	folder, month, err := journal.ParseFolder(m.In)
	if err != nil {
		return nil, err
	}
	ref := journal.Ref{Mailbox: archive, Month: month, Folder: folder, UID: m.At}
	e, err := i.archive.journal.Entry(ctx, ref)
	if absent(err) || err == nil && e.SHA256 != m.SHA256 {
		if ref, err = i.find(ctx, archive, m.SHA256); err == nil {
			e, err = i.archive.journal.Entry(ctx, ref)
		}
	}
	var body *journal.Body
	if err == nil {
		body, err = i.archive.journal.Body(ctx, e)
	}
	if absent(err) {
		return nil, nil
	}
	return body, err
}

// absent reports whether an error says that a message is not there, or cannot be read.
func absent(err error) bool {
	return errors.Is(err, journal.ErrNotFound) || errors.Is(err, journal.ErrGone) || errors.Is(err, journal.ErrDamaged)
}

// find returns where the archive has a message of a digest. The error is journal.ErrNotFound where it has none.
func (i *Importing) find(ctx context.Context, archive string, digest journal.Digest) (journal.Ref, error) {
	known, end, err := i.archive.known.begin(ctx, archive)
	if err != nil {
		return journal.Ref{}, err
	}
	defer end()
	if err := known.bringAll(ctx, i.archive.journal); err != nil {
		return journal.Ref{}, err
	}
	ref, there, err := known.find(ctx, i.archive.journal, digest)
	if err == nil && !there {
		err = fmt.Errorf("%s: %w", hex.EncodeToString(digest[:]), journal.ErrNotFound)
	}
	return ref, err
}

// comparing compares what is written with a body. It takes all, also after a difference.
type comparing struct {
	body   *journal.Body
	at     int64
	same   bool
	buffer []byte
	err    error // of reading the body
}

// Write implements io.Writer.
func (c *comparing) Write(b []byte) (int, error) {
	if !c.same || c.err != nil {
		return len(b), nil
	}
	if c.at+int64(len(b)) > c.body.Size() {
		c.same = false
		return len(b), nil
	}
	if cap(c.buffer) < len(b) {
		c.buffer = make([]byte, len(b))
	}
	there := c.buffer[:len(b)]
	n, err := c.body.ReadAt(there, c.at)
	if n < len(b) {
		c.err = err
		c.same = false
		return len(b), nil
	}
	c.same = bytes.Equal(there, b)
	c.at += int64(len(b))
	return len(b), nil
}
