package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The keys of the settings, as Set, the change log and the stored form name them.
const (
	KeyArchive      = "archive" // changed by Enable, Pause, Resume, Disable and Restore
	KeyFilter       = "filter"
	KeyWrite        = "write"
	KeyManualDelete = "manual_delete"
	KeyAppend       = "append"
	KeyIMAP         = "imap"
	KeyLayout       = "layout"
	KeyRetention    = "retention"
	KeyQuota        = "quota"
	KeyWhenFull     = "when_full"
	KeyProtocols    = "protocols"
	KeyNotify       = "notify"
	KeyNotifyOn     = "notify_on"
	KeyLanguage     = "language"
	KeyHold         = "hold"    // changed by Hold and Release
	KeyAddress      = "address" // changed by Rename and HandOver; not among the settings
	KeyErasure      = "erasure" // changed by Disable, Restore, Erasing, Erased and Enable
)

// The keys of what follows from changes of other settings.
const (
	KeyNotifyPending  = "notify_pending"  // changed by Set with KeyNotify, and by ConfirmNotify
	KeyRetentionDelay = "retention_delay" // changed by Set with KeyRetention, and by DelayRetention
)

// KeyPause names the right to Pause and Resume. It is no key of a setting: both change KeyArchive.
const KeyPause = "pause"

// settableKeys are the keys that Set takes.
const settableKeys = "filter,write,manual_delete,append,imap,layout,retention,quota,when_full,protocols,notify,notify_on,language"

// valueKeys are the keys of Values. The log lists the changes of one act in this order: a change of the archive comes before that of its
// erasure.
const valueKeys = KeyArchive + "," + settableKeys + "," + KeyHold + "," + KeyErasure + "," + KeyNotifyPending + "," + KeyRetentionDelay

// Keys returns the keys that Set takes, in the order of Values.
func Keys() []string { return strings.Split(settableKeys, ",") }

func settable(key string) bool { return slices.Contains(Keys(), key) }

// maxReason is the longest reason of a hold, in bytes.
const maxReason = 500

// value returns a setting as text. It panics if the key is not one of valueKeys.
func (s *Settings) value(key string) string {
	switch key {
	case KeyArchive:
		return string(s.State())
	case KeyFilter:
		return s.Filter.String()
	case KeyWrite:
		return onOff(s.Write)
	case KeyManualDelete:
		return onOff(s.ManualDelete)
	case KeyAppend:
		return onOff(s.Append)
	case KeyIMAP:
		return onOff(s.IMAP)
	case KeyLayout:
		return string(s.Layout)
	case KeyRetention:
		if s.Retention == 0 {
			return "none"
		}
		return strconv.Itoa(s.Retention)
	case KeyQuota:
		if s.Quota == 0 {
			return "none"
		}
		return formatSize(s.Quota)
	case KeyWhenFull:
		return string(s.WhenFull)
	case KeyProtocols:
		return s.Protocols.String()
	case KeyNotify:
		if s.Notify == (Address{}) {
			return "none"
		}
		return s.Notify.String()
	case KeyNotifyOn:
		return s.NotifyOn.String()
	case KeyLanguage:
		return string(s.Language)
	case KeyHold:
		return s.Hold.String()
	case KeyErasure:
		return s.Erasure.String()
	case KeyNotifyPending:
		return s.NotifyPending.String()
	case KeyRetentionDelay:
		return s.RetentionDelay.String()
	}
	panic("policy: no setting " + key)
}

// setValue changes a setting that Set takes. The error says what the value should be; it leaves the settings unchanged.
func (s *Settings) setValue(key, value string) error {
	switch key {
	case KeyFilter:
		return parseFilter(value, &s.Filter)
	case KeyWrite:
		return parseOnOff(value, &s.Write)
	case KeyManualDelete:
		return parseOnOff(value, &s.ManualDelete)
	case KeyAppend:
		return parseOnOff(value, &s.Append)
	case KeyIMAP:
		return parseOnOff(value, &s.IMAP)
	case KeyLayout:
		return parseChoice(value, &s.Layout, LayoutMonth, LayoutType)
	case KeyRetention:
		return parseRetention(value, &s.Retention)
	case KeyQuota:
		return parseQuota(value, &s.Quota)
	case KeyWhenFull:
		return parseChoice(value, &s.WhenFull, WhenFullSkip, WhenFullDefer, WhenFullMakeRoom)
	case KeyProtocols:
		return parseSet(value, &s.Protocols, protocolNames, "none")
	case KeyNotify:
		return parseNotify(value, &s.Notify)
	case KeyNotifyOn:
		return parseSet(value, &s.NotifyOn, eventNames, "none")
	case KeyLanguage:
		return parseChoice(value, &s.Language, Italian, English)
	}
	return errors.New("unknown key: the keys are " + strings.Join(Keys(), ", "))
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func parseOnOff(value string, into *bool) error {
	if value != "on" && value != "off" {
		return errors.New("want on or off")
	}
	*into = value == "on"
	return nil
}

// parseSet reads names with commas, and allows white space around them. The value whole names the empty set if it is "none".
func parseSet[S ~uint8](value string, into *S, names, whole string) error {
	if value == whole && whole == "none" {
		*into = 0
		return nil
	}
	var set S
	for member := range strings.SplitSeq(value, ",") {
		i := slices.Index(strings.Split(names, ","), strings.TrimSpace(member))
		if i < 0 {
			return fmt.Errorf("want %s, or one or more of %s, with commas between them", whole, names)
		}
		set |= 1 << i
	}
	*into = set
	return nil
}

func parseChoice[S ~string](value string, into *S, choices ...S) error {
	if !slices.Contains(choices, S(value)) {
		texts := make([]string, len(choices))
		for i, c := range choices {
			texts[i] = string(c)
		}
		return errors.New("want " + strings.Join(texts[:len(texts)-1], ", ") + " or " + texts[len(texts)-1])
	}
	*into = S(value)
	return nil
}

// Retentions returns the values of the setting retention, that which keeps everything first.
func Retentions() []string {
	list := []string{"none"}
	for months := 6; months <= 48; months += 6 {
		list = append(list, strconv.Itoa(months))
	}
	return list
}

func parseRetention(value string, into *int) error {
	if value == "none" {
		*into = 0
		return nil
	}
	if slices.Contains(Retentions(), value) {
		months, err := strconv.Atoi(value)
		*into = months
		return err
	}
	return errors.New("want none, or 6, 12, 18, 24, 30, 36, 42 or 48 months, as a bare number")
}

func parseNotify(value string, into *Address) error {
	if value == "none" {
		*into = Address{}
		return nil
	}
	a, err := ParseAddress(value)
	if err != nil || a.Domain == "" {
		return errors.New("want none, or one address with its domain")
	}
	*into = a
	return nil
}

// sizeUnits are the units of a size, largest first; unitFactor has the bytes of each.
const sizeUnits = "TiB,TB,GiB,GB,MiB,MB,KiB,kB,B"

func unitFactor(unit string) int64 {
	switch unit {
	case "TiB":
		return 1 << 40
	case "TB":
		return 1e12
	case "GiB":
		return 1 << 30
	case "GB":
		return 1e9
	case "MiB":
		return 1 << 20
	case "MB":
		return 1e6
	case "KiB":
		return 1 << 10
	case "kB":
		return 1e3
	case "B":
		return 1
	}
	return 0
}

func parseQuota(value string, into *int64) error {
	if value == "none" {
		*into = 0
		return nil
	}
	return parseSize(value, into)
}

func parseSize(value string, into *int64) error {
	digits := value[:len(value)-len(strings.TrimLeft(value, "0123456789"))]
	factor := unitFactor(value[len(digits):])
	if digits == "" || factor == 0 {
		if digits != "" && digits == value && len(digits) < 10 {
			return fmt.Errorf("a size needs a unit: write %sGB, or another of %s, or none for no limit", digits, strings.ReplaceAll(sizeUnits, ",", ", "))
		}
		return errors.New("want none, or a whole number with a unit (" + strings.ReplaceAll(sizeUnits, ",", ", ") + "), as 1GB")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err != nil || n > math.MaxInt64/factor:
		return errors.New("too large: write a smaller size")
	case n == 0:
		return errors.New("a quota of nothing archives nothing: write a size above zero, or none for no limit; \"mailbox pause\" stops archiving")
	}
	*into = n * factor
	return nil
}

// formatSize writes a size in the largest unit that leaves a whole number. parseSize reads it back.
func formatSize(n int64) string {
	for unit := range strings.SplitSeq(sizeUnits, ",") {
		if factor := unitFactor(unit); n >= factor && n%factor == 0 {
			return strconv.FormatInt(n/factor, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// parseErasure reads what Erasure.String wrote.
func parseErasure(value string) (Erasure, error) {
	switch state := ErasureState(value); state {
	case "none":
		return Erasure{}, nil
	case ErasureRunning, ErasureDone:
		return Erasure{State: state}, nil
	}
	text, ok := strings.CutPrefix(value, "due ")
	at, err := time.Parse(time.RFC3339Nano, text)
	if !ok || err != nil {
		return Erasure{}, fmt.Errorf("%.100q is not a state of an erasure", value)
	}
	return Erasure{ErasureDue, at.UTC()}, nil
}
