package cli

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"loquetier/scheduler"
)

// costFile is where it is kept between runs how long steps take on this device
// with this base; "" where the system has no place for that.
func (s *session) costFile(base string) string {
	dir := cacheFolder()
	if dir == "" {
		return ""
	}
	i := s.device.Info
	key := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", i.Name, i.Driver, base, s.engine.Precision()))
	return filepath.Join(dir, fmt.Sprintf("steps-%x.json", key[:8]))
}

// readCost reads what is known of steps. What cannot be read is learned anew.
func (s *session) readCost(file string) scheduler.Cost {
	data, err := os.ReadFile(file)
	if err == nil {
		var cost scheduler.Cost
		if cost, err = scheduler.LoadCost(data); err == nil {
			return cost
		}
	}
	if file != "" && !errors.Is(err, fs.ErrNotExist) {
		s.log.Info("the times of steps are learned anew", "file", file, "error", err)
	}
	return scheduler.NewCost()
}

// writeCost keeps what is known of steps. It is written beside its place first,
// so that nobody reads half of it.
func (s *session) writeCost(file string) error {
	if file == "" || s.scheduler == nil {
		return nil
	}
	data, err := json.Marshal(s.scheduler.Cost())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = replaceFile(file, data)
	}
	if err != nil {
		s.log.Warn("the times of steps are not kept", "error", err)
	}
	return nil
}

// replaceFile gives a file new content, all at once.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
